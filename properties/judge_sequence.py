"""Judges saves that follow each other: what the planner remembers of one must not show in the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from worlds import Operation, ProcessWorld, Scenario, TensorEntry
from worlds.concise import pretty
from worlds.outcome import MetadataRecord, OperationOutcome, Outcome, RankOutcome, Returned
from worlds.processes.sequences import run_sequence
from worlds.sequences import SaveSequence, SequenceOutcome

from .agreement import depends_on_threads
from .check import KNOWN_HITS
from .ledger import LedgerEntry, torch_release
from .verdict import describe_ranks, rank_text
from .violations import Violation

__all__ = ["SEQUENCE_ISSUES", "SequenceBreach", "SequenceIssue", "check_sequence", "compare_caching"]


class CachingShows(Violation):
    """A save with ``enable_plan_caching`` does something else than one without, and is to differ in time alone."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


@dataclass(frozen=True)
class SequenceBreach:
    """A step of a sequence at which two ways to save differ first: how, in one line, and what came of each."""

    headline: str
    sequence: SaveSequence
    step: int
    plain: Outcome
    cached: Outcome
    kind: type[Violation] = CachingShows

    def violation(self) -> Violation:
        """The exception, with the whole text."""
        lines = [self.headline, "", *f"sequence = {pretty(self.sequence)}".splitlines(), ""]
        for name, outcome in (("plain", self.plain), ("other", self.cached)):
            for operation, seen in (("save", outcome.save), ("load", outcome.load)):
                if seen is not None:
                    groups = describe_ranks(seen.ranks, rank_text)
                    lines += [f"{name:9} {operation}: {ranks}: {text}" for ranks, text in groups]
            lines.append(f"{name:9} metadata: {outcome.metadata or outcome.metadata_error}")
        return self.kind("\n".join(lines))


@dataclass(frozen=True, kw_only=True)
class SequenceIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of saves that follow each other."""

    sequence: SaveSequence
    matches: Callable[[SequenceBreach], bool]


def check_sequence(sequence: SaveSequence, world: ProcessWorld) -> None:
    """Raise the violation if caching shows, unless it is a known issue; that is counted."""
    __tracebackhide__ = True
    plain, cached = (run_sequence(world, sequence, caching=caching) for caching in (False, True))
    breach = compare_caching(sequence, plain, cached)
    if breach is None:
        return
    known = find_sequence_issue(breach)
    if known is None:
        breach.violation().throw()
    KNOWN_HITS[known.id] += 1


def find_sequence_issue(breach: SequenceBreach) -> SequenceIssue | None:
    """The entry for the breach, if it is known for the installed torch."""
    release = torch_release()
    matching = (issue for issue in SEQUENCE_ISSUES.values() if issue.affects(release) and issue.matches(breach))
    return next(matching, None)


def compare_caching(sequence: SaveSequence, plain: SequenceOutcome, cached: SequenceOutcome) -> SequenceBreach | None:
    """The first step at which the two differ, or ``None``; what comes after it follows from it."""
    if not plain.steps or not cached.steps:
        raise ValueError("a sequence was not run")
    for number, (step, one, other) in enumerate(zip(sequence.steps, plain.steps, cached.steps, strict=False)):
        if depends_on_threads(step):
            return None  # what the ranks remember from there on is the system's choice
        difference = next(_differences(step, one, other), None)
        if difference is not None:
            headline = f"step {number} of {len(sequence.steps)}: with enable_plan_caching {difference}"
            return SequenceBreach(headline, sequence, number, one, other)
    if len(plain.steps) != len(cached.steps):
        raise ValueError("two sequences that saw the same ended at different steps")
    return None


def _differences(step: Scenario, plain: Outcome, cached: Outcome) -> Iterator[str]:
    for name, one, other in (("save", plain.save, cached.save), ("load", plain.load, cached.load)):
        for rank in _differing_ranks(one, other):
            yield f"rank {rank} sees another {name}"
    if step.writer.thread_count > 1:  # which thread writes which file is the system's affair
        plain, cached = (replace(outcome, metadata=_without_places(outcome.metadata)) for outcome in (plain, cached))
    elif plain.files != cached.files:
        yield "the files are others"
    if (plain.metadata, plain.metadata_error) != (cached.metadata, cached.metadata_error):
        yield "the metadata are others"


def _differing_ranks(one: OperationOutcome | None, other: OperationOutcome | None) -> list[int]:
    if one is None or other is None:
        return [] if one is other else [0]
    pairs = enumerate(zip(one.ranks, other.ranks, strict=True))
    return [rank for rank, (left, right) in pairs if _comparable(left) != _comparable(right)]


def _comparable(seen: RankOutcome) -> RankOutcome:
    return replace(seen, metadata=None) if isinstance(seen, Returned) else seen


def _without_places(metadata: MetadataRecord | None) -> MetadataRecord | None:
    return None if metadata is None else replace(metadata, storage=())


def _keeps_older_dtype(breach: SequenceBreach) -> bool:
    """Whether the metadata have, for a tensor, the dtype that it had in an earlier step, and are else the same."""
    metadata, steps = breach.cached.metadata, breach.sequence.steps
    if metadata is None or not breach.cached.save.returned:
        return False
    now, *before = [_dtypes(step) for step in (steps[breach.step], *steps[: breach.step])]
    stale = {record.fqn: record.dtype for record in metadata.tensors if now.get(record.fqn) != record.dtype}
    if not stale or not all(any(old.get(fqn) == dtype for old in before) for fqn, dtype in stale.items()):
        return False
    true = breach.plain.metadata
    if true is None:  # the true dtype cannot be saved at all, which without caching is said
        return not breach.plain.save.returned
    corrected = tuple(replace(record, dtype=now.get(record.fqn, record.dtype)) for record in metadata.tensors)
    return _without_places(replace(metadata, tensors=corrected)) == _without_places(true)


def _dtypes(step: Scenario) -> dict[str, str]:
    return {str(entry.key): entry.dtype for entry in step.entries if isinstance(entry, TensorEntry)}


_ISSUES = (
    SequenceIssue(
        id="cached-plan-dtype",
        title="with enable_plan_caching, a tensor whose dtype changed is saved with the dtype of an earlier save",
        loses="the metadata lie about what is in the files, after a model was cast, and whoever trusts them goes wrong",
        sequence=SaveSequence(
            (
                Scenario((TensorEntry("a"),), save=Operation(), load=Operation()),
                Scenario((TensorEntry("a", dtype="float64"),), save=Operation(), load=Operation()),
            )
        ),
        matches=_keeps_older_dtype,
    ),
)

SEQUENCE_ISSUES: dict[str, SequenceIssue] = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
