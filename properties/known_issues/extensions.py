"""Known issues of extensions: what the writer has passed an item through, and the reader cannot undo."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from worlds.entries import ObjectEntry
from worlds.operations import WriterOptions
from worlds.outcome import ErrorRecord, OperationOutcome, Raised
from worlds.scenario import Scenario

from ..file_reach import told_hits
from ..oracle import names_fault
from ..verdict import Breach, Verdict
from ..violations import WrongException, WrongRanks
from .entry import FAILED, KnownIssue, operation_outcome

__all__ = ["ISSUES"]


def _cannot_undo(text: str, scenarios: Callable[[Scenario], bool]) -> Callable[[Verdict, Breach], bool]:
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
        made = {rank for index, rank in struck.items() if _is_told(scenario, index, failures.get(rank))}
        said = {rank for rank, error in failures.items() if re.search(text, error.message)}
        return bool(said) and failures.keys() == said | made and made >= set(struck.values()) and scenarios(scenario)

    return matches


def _failures(outcome: OperationOutcome) -> Iterator[tuple[int, ErrorRecord]]:
    """Who failed of what: as all are told, or, where nobody is, as each rank raised it."""
    for rank, seen in enumerate(outcome.ranks):
        if isinstance(seen, Raised):
            yield from ((rank, seen.error),) if seen.failures is None else seen.failures


def _is_told(scenario: Scenario, index: int, error: ErrorRecord | None) -> bool:
    return error is not None and names_fault(scenario, index, error)


def _are_undone_wrongly(scenario: Scenario) -> bool:
    extensions = scenario.writer.extensions
    return extensions != extensions[::-1]


def _cannot_be_told(scenario: Scenario) -> bool:
    return scenario.storage in ("fsspec", "memory") and not scenario.writer.known_to_torch


_ONE = (ObjectEntry("a"),)

ISSUES = (
    KnownIssue(
        id="extensions-undone-in-wrong-order",
        title="a reader undoes what two extensions have changed in the order in which they have changed it",
        loses="a checkpoint that was reported as saved, compressed and encrypted, cannot be loaded",
        scenario=Scenario(_ONE, writer=WriterOptions(extensions=("deflated", "inverted"))),
        matches=_cannot_undo("while decompressing data|zstd decompress error", _are_undone_wrongly),
    ),
    KnownIssue(
        id="fsspec-reader-without-extensions",
        title="FsspecWriter takes extensions of one's own, and FsspecReader no registry that has them",
        loses="a checkpoint that was reported as saved, and encrypted, cannot be loaded by that reader",
        scenario=Scenario(_ONE, writer=WriterOptions(extensions=("inverted",)), storage="fsspec"),
        matches=_cannot_undo("^Unknown extension name='stream", _cannot_be_told),
    ),
)
