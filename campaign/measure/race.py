"""Laws against one bug: each has its turns in proportion to its examples in a run, until one of them finds it."""

from __future__ import annotations

import heapq
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..cases import data_of
from ..laws import Law
from ..planted.bug import Bug, plant
from ..planted.processes import plant_in_new_processes
from ..size import size_of
from .turns import Broke, Lost, Shrunk, TurnTaker

__all__ = ["Course", "Record", "race"]

Record = dict[str, Any]

_AT_ONCE = 25  # turns that a law has one after the other, before it must answer


@dataclass(frozen=True)
class Course:
    """How a race is run. ``examples`` of all laws together are the most, ``None`` for as many as a run has.

    With ``alone``, a bug is looked for by that of the laws alone which its witness breaks. A law that does not answer
    for ``patience`` seconds is given up, and what is found is shrunk for ``shrink_seconds`` at most.
    """

    laws: Sequence[Law]
    examples: int | None = None
    alone: bool = False
    shrink_seconds: float = 60
    patience: float = 300


def race(bug: Bug, seed: int, course: Course) -> Record:
    """What came of it, as JSON has it. To be called in a process of its own, which has the bug from now on.

    ``state`` is ``found`` or ``missed``. ``examples`` and ``cpu``, in seconds, are those of all laws together up to the
    one that was found. ``lost`` are the laws that died or hung.
    """
    record: Record = {"bug": bug.id, "seed": seed, "torch": torch.__version__, "state": "missed"}
    takers: dict[str, TurnTaker] = {}
    if course.alone:
        course = replace(course, laws=[law for law in course.laws if law.name == bug.witness.law])
    with tempfile.TemporaryDirectory(prefix="dcp-stress-planted-") as directory, plant(bug):
        plant_in_new_processes(bug, Path(directory))
        try:
            record |= _race(seed, course, takers)
        finally:
            for taker in takers.values():
                taker.end()
    return record


def _race(seed: int, course: Course, takers: dict[str, TurnTaker]) -> Record:
    examples, lost, driver = 0, [], os.getppid()
    gone: set[str] = set()
    for law, turns in _stretches(course.laws):
        if os.getppid() != driver:
            raise SystemExit("nobody waits for what comes of the race any more")
        if examples == course.examples or len(gone) == len(course.laws):
            break
        if law.name in gone:
            continue
        if law.name not in takers:
            takers[law.name] = TurnTaker(law, seed, shrink_seconds=course.shrink_seconds, patience=course.patience)
        taker = takers[law.name]
        answer = taker.take(turns if course.examples is None else min(turns, course.examples - examples))
        if isinstance(answer, Lost):
            gone.add(law.name)
            lost.append({"law": law.name, "how": answer.how, "after": examples + 1})
            continue
        ran, broke = (answer, None) if isinstance(answer, int) else answer
        examples += ran
        if taker.exhausted:
            gone.add(law.name)
        if broke is not None:
            spent = sum(each.cpu for each in takers.values())
            told = _told(law, broke, taker, others=[each for each in takers.values() if each is not taker])
            return {"state": "found", "examples": examples, "cpu": round(spent, 2), "lost": lost, **told}
    return {"examples": examples, "cpu": round(sum(each.cpu for each in takers.values()), 2), "lost": lost}


def _stretches(laws: Sequence[Law]) -> Iterator[tuple[Law, int]]:
    """Their turns, those of one law behind each other as one: it need not wait between them."""
    for _, same in itertools.groupby(_turns(laws), key=lambda law: law.name):
        while some := list(itertools.islice(same, _AT_ONCE)):
            yield some[0], len(some)


def _turns(laws: Sequence[Law]) -> Iterator[Law]:
    """The laws in the order of their turns: each is as far within its examples as the others are."""
    heap = [(1 / law.examples, index, 1) for index, law in enumerate(laws)]
    heapq.heapify(heap)
    while heap:
        _, index, number = heapq.heappop(heap)
        law = laws[index]
        yield law
        if number < law.examples:
            heapq.heappush(heap, ((number + 1) / law.examples, index, number + 1))


def _told(law: Law, broke: Broke, taker: TurnTaker, *, others: Sequence[TurnTaker]) -> Record:
    for other in others:
        other.end()
    found = taker.shrink()
    first = {"headline": broke.headline, **size_of(broke.case).to_data()}
    told: Record = {"law": law.name, "headline": broke.headline, "first": first}
    if isinstance(found, Shrunk):
        size, case = size_of(found.case), data_of(found.case)
        runs = {"shrink_runs": found.runs, "shrunk": found.whole}
        return {**told, **runs, "headline": found.headline, "size": size.to_data(), "case": case}
    return {**told, "shrunk": False, "lost_in_shrinking": found.how}
