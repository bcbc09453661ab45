"""Judges saves by the process executor: each comes to what a blocking save at the time of the call does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

from strategies.features import STAGING
from worlds import ProcessWorld
from worlds.outcome import Outcome
from worlds.processes.asynchronous import run_async_sequence
from worlds.processes.sequences import run_sequence
from worlds.scenario import Scenario
from worlds.sequences import SaveSequence, SequenceOutcome

from .check import KNOWN_HITS
from .judge import judge, judge_load
from .judge_sequence import SequenceBreach
from .judged import count_judged
from .known_issues import find_known_issue
from .ledger import LedgerEntry
from .violations import Violation

__all__ = ["check_async_sequence", "compare_async"]


class AsyncShows(Violation):
    """A save by ``async_save`` with the process executor comes to something else than a blocking one."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


def check_async_sequence(sequence: SaveSequence, world: ProcessWorld) -> None:
    """Raise the violation if the process executor shows, unless by a known issue of staging; that is counted."""
    __tracebackhide__ = True
    plain = run_sequence(world, _blocking(sequence), caching=False)
    asynchronous = run_async_sequence(world, sequence)
    count_judged([("async_save in a process", name) for name in _features(sequence, asynchronous)])
    breach = compare_async(sequence, plain, asynchronous)
    if breach is None:
        return
    known = _known(breach)
    if known is None:
        breach.violation().throw()
    KNOWN_HITS[known.id] += 1


def _features(sequence: SaveSequence, outcome: SequenceOutcome) -> Iterator[str]:
    for number, (step, _) in enumerate(zip(sequence.steps, outcome.steps, strict=False)):
        yield "a later one" if number else "the first of a new daemon" if sequence.anew else "the first"
        if number and sequence.in_place:
            yield "in place" if step.writer.overwrite else "refused in place"
        if step.planner.enable_plan_caching:
            yield "enable_plan_caching=True"
        if step.save.stager in STAGING:
            yield STAGING[step.save.stager]
        if step.save.named_by != "both":
            yield f"by the {step.save.named_by} alone"


def _blocking(sequence: SaveSequence) -> SaveSequence:
    """The same saves by ``save``."""
    steps = (replace(step, save=replace(step.save, api="current", stager="writer")) for step in sequence.steps)
    return replace(sequence, steps=tuple(steps))


def _known(breach: SequenceBreach) -> LedgerEntry | None:
    """The known issue of ``async_save`` that the step shows: it is the same copy that the executor is given.

    Where the save returned, what it was given has been changed since, so that the load alone is judged.
    """
    step, seen = breach.sequence.steps[breach.step], breach.cached
    return find_known_issue(judge_load(step, seen) if seen.save.returned else judge(step, seen))


def compare_async(
    sequence: SaveSequence, plain: SequenceOutcome, asynchronous: SequenceOutcome
) -> SequenceBreach | None:
    """The first step at which the two differ in what is left, or in how the save failed; or ``None``."""
    if len(plain.steps) != len(sequence.steps):
        raise ValueError("a blocking save without failing ranks did not come to its end")
    for number, (step, one, other) in enumerate(zip(sequence.steps, plain.steps, asynchronous.steps, strict=False)):
        difference = next(_differences(step, one, other), None)
        if difference is not None:
            headline = f"step {number + 1} of {len(sequence.steps)}: with async_save in a process {difference}"
            return SequenceBreach(headline, sequence, number, one, other, kind=AsyncShows)
    if len(plain.steps) != len(asynchronous.steps):
        raise ValueError("an asynchronous save did not come to its end, and differs in nothing before")
    return None


def _differences(step: Scenario, plain: Outcome, other: Outcome) -> Iterator[str]:
    for rank, (left, right) in enumerate(zip(plain.save.ranks, other.save.ranks, strict=True)):
        if type(left) is not type(right):  # what cannot be saved may be refused sooner, and in other words
            yield f"the save ends in another way on rank {rank}"
    if plain.load != other.load:
        yield "the load sees another checkpoint"
    if step.writer.thread_count > 1:
        return  # which thread writes which file is the system's affair
    if (plain.metadata, plain.metadata_error, plain.files) != (other.metadata, other.metadata_error, other.files):
        yield "the metadata or the files are others"
