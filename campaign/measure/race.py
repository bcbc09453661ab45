"""Laws against one bug: each has its turns in proportion to its examples in a run, until one of them finds it."""

from __future__ import annotations

import heapq
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..cases import data_of
from ..laws import Law
from ..planted.bug import Bug, plant
from ..planted.processes import plant_in_new_processes
from ..size import size_of
from .turns import Broke, Lost, Shrunk, TurnTaker

__all__ = ["BY_CHANCE", "LAWS", "Course", "Racer", "Record", "who_of"]

Record = dict[str, Any]

_AT_ONCE = 25  # turns that a law has one after the other, before it must answer

LAWS, BY_CHANCE = "laws", "by chance"
"""Who looks for bugs: the laws as they are, and with purely random choices."""


def who_of(record: Record) -> str:
    """Who looked for the bug."""
    who: str = record.get("who", LAWS)
    return who


class Racer(Protocol):
    """Whoever looks for bugs. What they do is the same with each seed, unless they have ``seeds``."""

    @property
    def who(self) -> str:
        """What records call them."""

    @property
    def has_seeds(self) -> bool:
        """Whether another seed is another race."""

    def race(self, bug: Bug, seed: int) -> Record:
        """What came of a race against the bug, as JSON has it.

        To be called in a process of its own, which has the bug from now on. ``state`` is ``found`` or ``missed``.
        ``examples`` and ``cpu``, in seconds, are all up to the example that showed the bug.
        """


@dataclass(frozen=True)
class Course:
    """How a race is run. ``examples`` of all laws together are the most, ``None`` for as many as a run has.

    With ``alone``, a bug is looked for by that of the laws alone which its witness breaks. A law that does not answer
    for ``patience`` seconds is given up, and what is found is shrunk for ``shrink_seconds`` at most. With
    ``by_chance``, choices are purely random, and nothing is shrunk.
    """

    laws: Sequence[Law]
    examples: int | None = None
    alone: bool = False
    shrink_seconds: float = 60
    patience: float = 300
    by_chance: bool = False
    has_seeds = True

    @property
    def who(self) -> str:
        """What records call them."""
        return BY_CHANCE if self.by_chance else LAWS

    def race(self, bug: Bug, seed: int) -> Record:
        """What came of it. ``examples`` are those of all laws together, and ``lost`` the laws that died or hung."""
        takers: dict[str, TurnTaker] = {}
        course = self
        if self.alone:
            course = replace(self, laws=[law for law in self.laws if law.name == bug.witness.law])
        with tempfile.TemporaryDirectory(prefix="dcp-stress-planted-") as directory, plant(bug):
            plant_in_new_processes(bug, Path(directory))
            try:
                return {"state": "missed", **_race(seed, course, takers)}
            finally:
                for taker in takers.values():
                    taker.end()


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
            times = {"shrink_seconds": course.shrink_seconds, "patience": course.patience}
            takers[law.name] = TurnTaker(law, seed, by_chance=course.by_chance, **times)
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
            others = [each for name, each in takers.items() if course.by_chance or name != law.name]
            told = _told(law, broke, None if course.by_chance else taker, others=others)
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


def _told(law: Law, broke: Broke, taker: TurnTaker | None, *, others: Sequence[TurnTaker]) -> Record:
    """What was found, shrunk by the taker if there is one, when the others have ended."""
    for other in others:
        other.end()
    first = {"headline": broke.headline, **size_of(broke.case).to_data()}
    told: Record = {"law": law.name, "headline": broke.headline, "first": first}
    if taker is None:
        return told
    found = taker.shrink()
    if isinstance(found, Shrunk):
        size, case = size_of(found.case), data_of(found.case)
        runs = {"shrink_runs": found.runs, "shrunk": found.whole}
        return {**told, **runs, "headline": found.headline, "size": size.to_data(), "case": case}
    return {**told, "shrunk": False, "lost_in_shrinking": found.how}
