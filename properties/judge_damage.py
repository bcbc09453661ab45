"""Judges the load of a checkpoint that was damaged: it raises, naming exactly the ranks that read it, or is exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Literal

from worlds.do_damage import METADATA
from worlds.outcome import OperationOutcome, Outcome, Raised, StorageRecord
from worlds.scenario import Scenario

from .damage_reads import DamageReads
from .judge_blame import judge_agreed, judge_blame, judge_ended, judge_none_failed
from .judge_state import judge_state, judge_untouched
from .mended import mended
from .oracle import OperationExpectation
from .verdict import Breach
from .violations import (
    LostFailure,
    UnexpectedFailure,
    UnprotectedFailure,
    UnseenDamage,
    WrongException,
    WrongRanks,
)

__all__ = ["Blame", "described", "judge_damaged_load", "judge_data", "may_fail", "must_fail", "named_ranks", "unseen"]


def judge_damaged_load(scenario: Scenario, outcome: Outcome, expectation: OperationExpectation) -> Iterator[Breach]:
    """What is wrong with the load of a checkpoint that was saved well, and then damaged.

    What is gone, every rank that reads it must be named for. Where other bytes are than were saved, those that read
    them may be named, or what was saved is there all the same; and whatever else the ranks hold must be right. What
    nobody reads must not matter, and what must be refused is refused.
    """
    assert outcome.load is not None
    reads = DamageReads.of(scenario, outcome)
    for breach in _breaches(scenario, outcome, outcome.load, reads, expectation):
        yield replace(breach, damage=tuple(described(outcome, reads)))


def _breaches(
    scenario: Scenario, outcome: Outcome, load: OperationOutcome, reads: DamageReads, expectation: OperationExpectation
) -> Iterator[Breach]:
    everyone = frozenset(range(scenario.load.world_size))
    if reads.of_metadata == "lost":
        yield from must_fail(load, Blame("plan", dict.fromkeys(everyone, ()), everyone))
        if reads.is_gone(METADATA):
            yield from _said(load, dict.fromkeys(everyone, METADATA), "")
        yield from judge_untouched(scenario, load)
    elif reads.of_metadata == "altered":  # then it may say anything, also what leads other ranks astray
        yield from may_fail(load, None, everyone)
        if load.returned:
            yield from unseen(scenario, outcome, load)
    elif expectation.stages:  # before anything is read of the files
        yield from judge_blame(scenario, "load", expectation, load)
        yield from judge_untouched(scenario, load)
    else:
        yield from judge_data(scenario, outcome, load, reads)


def judge_data(scenario: Scenario, outcome: Outcome, load: OperationOutcome, reads: DamageReads) -> Iterator[Breach]:
    lost = reads.ranks("lost", surely=True)
    perhaps = reads.ranks("lost", surely=False).keys() | reads.ranks("altered", surely=False).keys()
    if lost:
        yield from must_fail(load, Blame("read", lost, perhaps))
        gone = {rank: next(iter(files)) for rank in lost if len(files := reads.only_misses(rank)) == 1}
        yield from _said(load, gone, "FileNotFoundError")
    else:
        yield from may_fail(load, "read", perhaps)
    yield from _alike(load, reads)
    yield from judge_untouched(scenario, load)
    if load.returned:
        yield from judge_state(scenario, "load", mended(scenario, load, reads))
        yield from unseen(scenario, outcome, load)


@dataclass(frozen=True)
class Blame:
    """The phase, the ranks that must be named, each with what it cannot read, and those that may be."""

    phase: Literal["plan", "read"]
    surely: Mapping[int, tuple[StorageRecord, ...]]
    perhaps: Set[int]


def must_fail(load: OperationOutcome, blame: Blame) -> Iterator[Breach]:
    yield from judge_ended("load", load)
    yield from _in_phase(load, blame.phase)
    first = min(blame.surely)
    what = f"rank {first} reads what is gone"
    for rank, seen in enumerate(load.ranks):
        if not isinstance(seen, Raised):
            where = "every rank" if load.returned else f"rank {rank}"
            yield Breach(LostFailure, f"load: {what}, and load() returned on {where}", "load")
    yield from _protected(load, what)
    yield from judge_agreed("load", load)
    named = named_ranks(load)
    for rank in sorted(blame.surely.keys() - named):
        yield Breach(LostFailure, f"load: rank {rank} reads what is gone, and is not named", "load")
    yield from _only(load, blame.surely.keys() | blame.perhaps)


def _said(load: OperationOutcome, gone: Mapping[int, str], kind: str) -> Iterator[Breach]:
    """Whoever misses a file that is gone, and nothing else, says so."""
    for seen in load.ranks:
        for rank, error in (seen.failures or ()) if isinstance(seen, Raised) else ():
            if rank in gone and (gone[rank] not in error.message or kind not in error.type):
                what = f"rank {rank} misses {gone[rank]}, and is blamed for {error.type}: {error.message}"
                yield Breach(WrongException, f"load: {what}", "load")


def may_fail(load: OperationOutcome, phase: Literal["read"] | None, perhaps: Set[int]) -> Iterator[Breach]:
    yield from judge_ended("load", load)
    if not perhaps:
        yield from judge_none_failed("load", load)
        return
    if phase is not None:
        yield from _in_phase(load, phase)
    raised = [rank for rank, seen in enumerate(load.ranks) if isinstance(seen, Raised)]
    if raised:
        what = f"rank {min(perhaps)} reads what was changed"
        yield from _protected(load, what)
        if len(raised) < len(load.ranks):
            yield Breach(LostFailure, f"load: {what}, and load() raised on rank {raised[0]}, not on every rank", "load")
        yield from judge_agreed("load", load)
        yield from _only(load, perhaps)


def _in_phase(load: OperationOutcome, phase: str) -> Iterator[Breach]:
    """What failed in another phase is nothing that the damage has done."""
    for seen in load.ranks:
        if isinstance(seen, Raised) and seen.failures and seen.phase != phase:
            rank, error = seen.failures[0]
            what = f"rank {rank} is blamed for {error.type}: {error.message}"
            yield Breach(UnexpectedFailure, f"load: failed in {seen.phase!r}, where no rank should: {what}", "load")


def _protected(load: OperationOutcome, what: str) -> Iterator[Breach]:
    for rank, seen in enumerate(load.ranks):
        if isinstance(seen, Raised) and not seen.failures:
            said = f"rank {rank} raised {seen.error.type}, which names nobody"
            yield Breach(UnprotectedFailure, f"load: {what}, and {said}", "load")


def named_ranks(load: OperationOutcome) -> Set[int]:
    return {rank for seen in load.ranks if isinstance(seen, Raised) for rank, _ in seen.failures or ()}


def _only(load: OperationOutcome, allowed: Set[int]) -> Iterator[Breach]:
    for rank in sorted(named_ranks(load) - allowed):
        yield Breach(WrongRanks, f"load: rank {rank}, which reads nothing that is damaged, is blamed", "load")


def _alike(load: OperationOutcome, reads: DamageReads) -> Iterator[Breach]:
    named = named_ranks(load)
    for ranks in reads.alike():
        if named & ranks and (missing := sorted(ranks - named)):
            what = f"rank {min(named & ranks)} is named, and rank {missing[0]}, which reads the same damage, is not"
            yield Breach(LostFailure, f"load: {what}", "load")


def unseen(scenario: Scenario, outcome: Outcome, load: OperationOutcome) -> Iterator[Breach]:
    """What is wrong after a load that reports success, and that is due to what was changed."""
    for breach in judge_state(scenario, "load", load):
        files = ", ".join(repr(file.file) for file in outcome.damaged if file.before is not None)
        yield replace(breach, kind=UnseenDamage, headline=f"{breach.headline}, after {files} was damaged")


def described(outcome: Outcome, reads: DamageReads) -> Iterator[str]:
    for file in outcome.damaged:
        runs = ", ".join(f"{start}-{end}" for start, end in file.changed[:4])
        sizes = f"{_size(file.before)} before, {_size(file.after)} after"
        yield f"damaged   {file.file}: {sizes}{f', changed at {runs}' if runs else ''}{' …' * (len(file.changed) > 4)}"
    for harm, verb in (("lost", "cannot read"), ("altered", "reads changed bytes of")):
        for rank, records in reads.ranks(harm, surely=False).items():  # type: ignore[arg-type]
            names = ", ".join(f"{record.fqn!r}" for record in records[:4])
            yield f"reads     rank {rank} {verb} {names}"


def _size(size: int | None) -> str:
    return "not there" if size is None else f"{size} bytes"
