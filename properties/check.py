"""From a scenario to pass or fail: run it, judge it, and look a violation up in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol, TypeVar

from strategies.features import features
from strategies.file_features import file_features
from strategies.request_features import request_features
from worlds.launched import Launched
from worlds.operations import Schedule
from worlds.outcome import Outcome
from worlds.scenario import Scenario

from .judge import judge
from .judged import count_judged
from .known_issues import find_known_issue
from .verdict import Verdict

T = TypeVar("T")

__all__ = ["FAULT_HITS", "KNOWN_HITS", "World", "check", "pass_or_raise"]

KNOWN_HITS: Counter[str] = Counter()
"""How often each known issue was seen by :func:`check` in this process, by its id."""

FAULT_HITS: Counter[tuple[str, str, str, str]] = Counter()
"""How often a fault was reached: by operation, hook, ``call`` or ``future``, and ``coordinator`` or ``rank``."""


class World(Protocol):
    """Where a scenario is run."""

    def run(self, scenario: Scenario) -> Outcome:
        """What every rank saw."""

    def launch(
        self, body: Callable[[int], T], world_size: int, *, schedule: Schedule = ..., distributed: bool = True
    ) -> Launched[T]:
        """What ``body(rank)`` returns on every rank."""


def check(scenario: Scenario, world: World) -> None:
    """Raise the violation if ``scenario`` breaks a law in ``world``, unless it is a known issue; that is counted."""
    __tracebackhide__ = True
    outcome = world.run(scenario)
    count_judged(features(scenario))
    _count_faults(scenario, outcome)
    pass_or_raise(judge(scenario, outcome))


def pass_or_raise(verdict: Verdict) -> None:
    """Raise the violation, unless the laws hold or it is a known issue; that is counted."""
    __tracebackhide__ = True
    known = find_known_issue(verdict)
    if known is None:
        verdict.raise_for_violation()
    else:
        KNOWN_HITS[known.id] += 1


def _count_faults(scenario: Scenario, outcome: Outcome) -> None:
    load_hits = outcome.load.hits if outcome.load is not None else ()
    if scenario.file_faults or scenario.request_faults:  # at no hook
        tell = file_features if scenario.file_faults else request_features
        count_judged(tell(scenario, "save", outcome.save.hits) | tell(scenario, "load", load_hits))
        return
    for hit in (*outcome.save.hits, *load_hits):
        fault = scenario.faults[hit.index]
        coordinator = scenario.operation(fault.operation).coordinator
        role = "coordinator" if fault.rank == coordinator else "rank"
        FAULT_HITS[fault.operation, fault.hook, fault.through, role] += 1
