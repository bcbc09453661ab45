"""What must come of a scenario whose requests fail, which its storage alone knows: as it has said at its hooks.

A client asks again, or does without, so that nobody can tell from outside which request must succeed. A rank whose hook
has failed is one that failed; and where none has, all has to be as if every request had been answered.
"""

from __future__ import annotations

from typing import Literal

from worlds.hooks import HOOKS, Hook
from worlds.outcome import OperationOutcome, Outcome
from worlds.scenario import Scenario

from .oracle import Expectation, OperationExpectation, Stage

__all__ = ["expected_of_requests"]

Name = Literal["save", "load"]


def expected_of_requests(scenario: Scenario, outcome: Outcome) -> Expectation:
    """What must come of it, where the hooks that have failed are those of the outcome."""
    save = _expect(scenario, "save", outcome.save)
    return Expectation(save, None if save.must_fail else _expect(scenario, "load", outcome.load))


def _expect(scenario: Scenario, name: Name, outcome: OperationOutcome | None) -> OperationExpectation:
    hits = () if outcome is None else outcome.hits
    faults = scenario.request_faults
    struck: dict[int, list[int]] = {}
    for hit in hits:
        if not hit.raised:
            struck.setdefault(faults[hit.index].rank, []).append(hit.index)
    stages: dict[tuple[int, bool], tuple[Hook, dict[int, tuple[int, ...]]]] = {}
    for hit in hits:
        rank = faults[hit.index].rank
        if hit.raised and rank in struck:  # a hook that fails without that has no reason to
            hook = HOOKS[name, hit.raised]
            _, ranks = stages.setdefault(_order(hook), (hook, {}))
            ranks[rank] = tuple(struck[rank])
    in_order = (stages[place] for place in sorted(stages))
    return OperationExpectation(tuple(Stage(hook.phase, hook.role, ranks, {}) for hook, ranks in in_order))


def _order(hook: Hook) -> tuple[int, bool]:
    return (None, "plan", "write", "read").index(hook.phase), hook.role == "coordinator"
