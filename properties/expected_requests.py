"""What must come of a scenario whose requests fail, which its storage alone knows: as it has said at its hooks.

A client asks again, or does without, so that nobody can tell from outside which request must succeed. A rank whose hook
has failed is one that failed; and where none has, all has to be as if every request had been answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from worlds.hooks import HOOKS, Hook
from worlds.outcome import OperationOutcome, Outcome
from worlds.scenario import Scenario

from .oracle import Expectation, OperationExpectation, Stage, expected

__all__ = ["expected_of_requests"]

Name = Literal["save", "load"]
_PHASES = (None, "plan", "write", "read")


def expected_of_requests(scenario: Scenario, outcome: Outcome) -> Expectation:
    """What must come of it, where the hooks that have failed are those of the outcome."""
    refused = expected(scenario)
    save = _with_failed(scenario, "save", refused.save, outcome.save)
    load = None if save.must_fail else _with_failed(scenario, "load", refused.load, outcome.load)
    return Expectation(save, load)


def _with_failed(
    scenario: Scenario, name: Name, refused: OperationExpectation | None, outcome: OperationOutcome | None
) -> OperationExpectation:
    """Who must refuse what it is given, whatever fails; and whose hooks have failed after a request had."""
    stages = {(stage.phase, stage.role): dict(stage.certain) for stage in (refused.stages if refused else ())}
    for rank, hook, struck in _failed(scenario, name, outcome):
        certain = stages.setdefault((hook.phase, hook.role), {})
        certain[rank] = (*certain.get(rank, ()), *struck)
    in_order = sorted(stages, key=lambda place: (_PHASES.index(place[0]), place[1] == "coordinator"))
    return OperationExpectation(tuple(Stage(*place, stages[place], {}) for place in in_order))


def _failed(
    scenario: Scenario, name: Name, outcome: OperationOutcome | None
) -> Iterator[tuple[int, Hook, tuple[int, ...]]]:
    """Each rank that failed, the hook, and those of its faults that had struck: without one it has no reason to."""
    hits = () if outcome is None else outcome.hits
    struck = [hit.index for hit in hits if not hit.raised]
    for hit in hits:
        rank = scenario.request_faults[hit.index].rank
        mine = tuple(index for index in struck if scenario.request_faults[index].rank == rank)
        if hit.raised and mine:
            yield rank, HOOKS[name, hit.raised], mine
