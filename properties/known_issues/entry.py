"""What an entry of the ledger is, and what its predicates ask of a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from worlds.entries import TensorEntry
from worlds.outcome import ErrorRecord, OperationOutcome, Raised
from worlds.scenario import Scenario

from ..ledger import LedgerEntry
from ..oracle import names_fault, names_refusal
from ..verdict import Breach, Verdict
from ..violations import Deadlock, Disagreement, LostFailure, UnexpectedFailure, UnprotectedFailure

__all__ = [
    "FAILED",
    "KnownIssue",
    "blamed",
    "is_due",
    "operation_outcome",
    "raised_alone",
    "saved_tensors",
]

FAILED = (Deadlock, Disagreement, LostFailure, UnexpectedFailure, UnprotectedFailure)
"""How an operation ends wrongly that does not end well: what is said, and to whom, depends on who else fails."""


@dataclass(frozen=True, kw_only=True)
class KnownIssue(LedgerEntry):
    """An entry for what a scenario shows in a world.

    ``matches`` gets the verdict and its breach: it names the *failure*, so that whatever else goes wrong in the same
    region is still new. In the worlds that ``shows_in`` names, the scenario shows it each time; in the others it may.
    """

    scenario: Scenario
    matches: Callable[[Verdict, Breach], bool]
    shows_in: tuple[str, ...] = ("simulated", "processes")


def operation_outcome(verdict: Verdict, breach: Breach) -> OperationOutcome:
    """What every rank saw of the operation that the breach is in."""
    outcome = verdict.outcome.save if breach.operation == "save" else verdict.outcome.load
    assert outcome is not None
    return outcome


def blamed(outcome: OperationOutcome, phase: str) -> dict[int, ErrorRecord]:
    """Whom every rank blames for that phase, if all ranks say the same; else nobody."""
    said = {(seen.phase, seen.failures) if isinstance(seen, Raised) else None for seen in outcome.ranks}
    if len(said) != 1:
        return {}
    (what,) = said
    return dict(what[1] or ()) if what is not None and what[0] == phase else {}


def raised_alone(outcome: OperationOutcome) -> dict[int, ErrorRecord]:
    """What ranks raised that is no ``CheckpointException``."""
    ranks = enumerate(outcome.ranks)
    return {rank: seen.error for rank, seen in ranks if isinstance(seen, Raised) and seen.failures is None}


def is_due(scenario: Scenario, operation: Literal["save", "load"], rank: int, error: ErrorRecord) -> bool:
    """Whether the rank rightly refuses what it is given, or was made to fail so."""
    return names_refusal(scenario, operation, rank, error) or any(
        (fault.operation, fault.rank) == (operation, rank) and names_fault(scenario, index, error)
        for index, fault in enumerate(scenario.all_faults)
    )


def saved_tensors(scenario: Scenario) -> Iterator[TensorEntry]:
    """The tensors of the state dict that is saved, wherever they are in it."""
    for leaf in scenario.leaves("save"):
        if isinstance(leaf.entry, TensorEntry):
            yield leaf.entry
