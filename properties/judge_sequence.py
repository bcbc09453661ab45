"""Judges saves that follow each other: what the planner remembers of one must not show in the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from worlds import Scenario
from worlds.concise import pretty
from worlds.outcome import MetadataRecord, OperationOutcome, Outcome, RankOutcome, Returned
from worlds.sequences import SaveSequence, SequenceOutcome

from .agreement import is_race
from .verdict import outcome_lines
from .violations import Violation

__all__ = ["SequenceBreach", "compare_caching", "without_places"]


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
    before: tuple[Outcome, ...] = ()
    """What came, with caching, of the steps before it."""
    kind: type[Violation] = CachingShows

    def violation(self) -> Violation:
        """The exception, with the whole text."""
        lines = [self.headline, "", *f"sequence = {pretty(self.sequence)}".splitlines(), ""]
        for name, outcome in (("plain", self.plain), ("other", self.cached)):
            lines += outcome_lines(name, outcome)
        return self.kind("\n".join(lines))


def compare_caching(sequence: SaveSequence, plain: SequenceOutcome, cached: SequenceOutcome) -> SequenceBreach | None:
    """The first step at which the two differ, or ``None``; what comes after it follows from it."""
    if not plain.steps or not cached.steps:
        raise ValueError("a sequence was not run")
    for number, (step, one, other) in enumerate(zip(sequence.steps, plain.steps, cached.steps, strict=False)):
        if is_race(step):
            return None  # what the ranks remember from there on is the system's choice
        difference = next(_differences(step, one, other), None)
        if difference is not None:
            headline = f"step {number + 1} of {len(sequence.steps)}: with enable_plan_caching {difference}"
            return SequenceBreach(headline, sequence, number, one, other, cached.steps[:number])
    if len(plain.steps) != len(cached.steps):
        raise ValueError("two sequences that saw the same ended at different steps")
    return None


def _differences(step: Scenario, plain: Outcome, cached: Outcome) -> Iterator[str]:
    for name, one, other in (("save", plain.save, cached.save), ("load", plain.load, cached.load)):
        for rank in _differing_ranks(one, other):
            yield f"rank {rank} sees another {name}"
    if step.writer.thread_count > 1:  # which thread writes which file is the system's affair
        plain, cached = (replace(outcome, metadata=without_places(outcome.metadata)) for outcome in (plain, cached))
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


def without_places(metadata: MetadataRecord | None) -> MetadataRecord | None:
    """The metadata but for what says where in the files things are."""
    return None if metadata is None else replace(metadata, storage=())
