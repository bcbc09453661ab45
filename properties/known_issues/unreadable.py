"""Loads that fail by themselves, and whoever was made to fail beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from worlds.outcome import ErrorRecord, OperationOutcome, Raised, RankOutcome
from worlds.scenario import Scenario

from ..file_reach import told_hits
from ..oracle import names_fault
from ..verdict import Breach, Verdict
from ..violations import WrongException, WrongRanks
from .alone import raised_itself
from .entry import FAILED, operation_outcome

__all__ = ["cannot_load"]


def cannot_load(
    says: Callable[[ErrorRecord], bool], scenarios: Callable[[Scenario], bool]
) -> Callable[[Verdict, Breach], bool]:
    """A predicate: in a load of such a scenario, each rank that fails says that, but for those made to fail.

    Whoever was made to fail, and came to that, is named; a short read raises nothing.
    """

    def matches(verdict: Verdict, breach: Breach) -> bool:
        scenario = verdict.scenario
        if breach.operation != "load" or breach.kind not in (*FAILED, WrongException, WrongRanks):
            return False
        outcome = operation_outcome(verdict, breach)
        failures = dict(_failures(outcome))
        struck = {hit.index: scenario.all_faults[hit.index].rank for hit in told_hits(scenario, outcome.hits)}
        made = {
            rank
            for index, rank in struck.items()
            if _is_told(scenario, index, failures.get(rank)) or _raised_it(scenario, index, outcome.ranks[rank])
        }
        said = {rank for rank, error in failures.items() if says(error)}
        return bool(said) and failures.keys() == said | made and made >= set(struck.values()) and scenarios(scenario)

    return matches


def _failures(outcome: OperationOutcome) -> Iterator[tuple[int, ErrorRecord]]:
    """Who failed of what: as all are told, or, where nobody is, as each rank raised it."""
    for rank, seen in enumerate(outcome.ranks):
        if isinstance(seen, Raised):
            # A CheckpointException that was made to be raised names nobody, where nobody is told of it.
            yield from seen.failures or ((rank, seen.error),)


def _raised_it(scenario: Scenario, index: int, seen: RankOutcome) -> bool:
    return isinstance(seen, Raised) and raised_itself(scenario, index, seen)


def _is_told(scenario: Scenario, index: int, error: ErrorRecord | None) -> bool:
    return error is not None and names_fault(scenario, index, error)
