"""A law under watch: what its examples are counted for, and when its slice is over."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any
from zlib import crc32

from hypothesis.errors import HypothesisException

from properties.check import FAULT_HITS, KNOWN_HITS
from properties.judged import FEATURE_HITS
from worlds import SimulatedWorld

from .drawn import drawn, features_within
from .finding import sighted
from .grouping import Group, group_of
from .laws import Law
from .logs import Record
from .minimize import SHARE_OF_DRAWN, can_be_minimized, minimized
from .opened import OpenedWorlds
from .slot import At, Slot
from .unit import Unit

__all__ = ["Broken", "SliceIsOver", "Watch", "behaviours_of"]


class SliceIsOver(BaseException):
    """The time, or the examples, of a unit are used up; Hypothesis lets it pass."""


@dataclass(frozen=True)
class Broken:
    """A case that breaks a law, and what was raised; whether shrinking came to its end with it."""

    case: Any
    error: Exception
    shrunk: bool


class Watch:
    """Stands between Hypothesis and what judges a law.

    A violation that is known is counted and passes. The first other one is raised, and from then on its group alone,
    so that Hypothesis shrinks it and nothing else; what that leaves is minimized. Both together take as long as the
    unit says at most. That is not the slice's time, and what is run for it is counted by itself. Then the same examples
    are drawn again, without being judged, up to the one that was raised: so a unit draws and counts the same whatever
    is known before it begins.
    """

    def __init__(
        self,
        law: Law,
        unit: Unit,
        slot: Slot,
        write: Callable[[Record], None],
        seen: set[int],
        *,
        world: str = SimulatedWorld.name,
        is_stopped: Callable[[], bool] = lambda: False,
        interval: float = 1,
    ) -> None:
        self.target: Group | None = None
        self.run = 0
        self._last: Broken | None = None
        self._smallest: Broken | None = None
        self._cut = False
        self._law = law
        self._unit = unit
        self._slot = slot
        self._write = write
        self._seen = seen
        self._world = world
        self._is_stopped = is_stopped
        self._interval = interval
        self._known = set(unit.known)
        self._written = time.monotonic()
        self._end = self._written + unit.seconds
        self._drawn = 0
        self._drawn_in_run = 0
        self._to_skip = 0
        self._since = 0.0
        self._number = 0
        self._pending = self._nothing()

    def _nothing(self) -> dict[str, Any]:
        self._number += 1
        counters = {name: Counter[str]() for name in ("features", "faults", "known", "violations", "drawn")}
        return {"unit": self._unit.id, "n": self._number, "examples": 0, "shrinking": 0, "behaviours": [], **counters}

    def is_over(self) -> bool:
        """Whether what is being done is to end: drawing, or shrinking."""
        now = time.monotonic()
        if self._is_stopped():
            return True
        if self.target is not None:
            return now > self._since + self._unit.shrink_seconds * SHARE_OF_DRAWN
        if self._to_skip:
            return False
        return now > self._end or (self._unit.examples is not None and self._drawn >= self._unit.examples)

    def found(self, opened: OpenedWorlds) -> Broken:
        """The smallest case of what was found; from now on its group is known, and the slice goes on.

        What Hypothesis has left of it is minimized in what is left of the time.
        """
        assert self.target is not None
        # The last case that Hypothesis runs is the smallest, unless it was not let come to its end.
        found = self._smallest if self._cut else self._last
        assert found is not None
        found = self._minimized(found, opened)
        self._known.add(self.target.id)
        self.target = self._last = self._smallest = None
        self._cut = False
        self._to_skip = self._drawn_in_run
        return found

    def _minimized(self, found: Broken, opened: OpenedWorlds) -> Broken:
        if not can_be_minimized(found.case):
            return replace(found, shrunk=not self._cut)
        smallest = found

        def shows(case: Any) -> bool:
            nonlocal smallest
            if self._is_stopped():
                return False
            self._pending["shrinking"] += 1
            error = self._run(case, lambda: self._law.judge(case, opened))
            self._flush_in_time()
            if error is None or group_of(self._law.name, error) != self.target:
                return False
            smallest = Broken(case, error, shrunk=False)
            return True

        left = self._since + self._unit.shrink_seconds - time.monotonic()
        whole = minimized(found.case, shows, seconds=left).whole and not self._is_stopped()
        return replace(smallest, shrunk=whole)

    def draw_others(self) -> bool:
        """Let the next run draw with another seed, after one that has drawn all that it can; ``False`` if for nothing.

        A run that has drawn nothing would be followed by others like it.
        """
        drawn, self._drawn_in_run = self._drawn_in_run, 0
        self._to_skip = 0
        self.run += 1
        return drawn > 0

    def __call__(self, **arguments: Any) -> None:
        """Judge one example, as the law itself does."""
        if self.is_over():
            self._cut = self.target is not None
            raise SliceIsOver
        if self._to_skip:
            self._skip_one()
            return
        case = arguments[self._law.argument]
        drawing = self.target is None
        self._drawn += drawing
        self._drawn_in_run += drawing
        self._pending["examples" if drawing else "shrinking"] += 1
        error = self._run(case, lambda: self._law.inner(**arguments))
        group = None if error is None else group_of(self._law.name, error)
        if drawing:
            self._count(group, case)
            self._pending["drawn"].update(": ".join(key) for key in drawn(case))
        self._flush_in_time()
        if error is not None and group is not None:
            if self.target is None and group.id not in self._known:
                self._begin_to_shrink(group, case, error)
            if group == self.target:
                self._keep(case, error)
                raise error

    def _run(self, case: Any, run: Callable[[], None]) -> Exception | None:
        """What it raises of the case; beforehand it is written down what is run."""
        self._slot.write(At(case, self._pending))
        for counter in (FEATURE_HITS, FAULT_HITS, KNOWN_HITS):
            counter.clear()
        try:
            run()
        except HypothesisException:
            raise
        except Exception as error:
            return error
        return None

    def _skip_one(self) -> None:
        self._to_skip -= 1
        if not self._to_skip:
            self._end += time.monotonic() - self._since

    def _begin_to_shrink(self, group: Group, case: Any, error: Exception) -> None:
        """From now on it is this group; what is known of it is written down first, lest it be lost with the worker."""
        self.target = group
        self._since = time.monotonic()
        finding = sighted(self._law, case, error, world=self._world, seed=self._unit.seed)
        self._write({"is": "finding", "unit": self._unit.id, "finding": finding.to_data()})

    def _keep(self, case: Any, error: Exception) -> None:
        self._last = Broken(case, error, shrunk=False)
        if self._smallest is None or len(repr(case)) <= len(repr(self._smallest.case)):
            self._smallest = self._last

    def _count(self, group: Group | None, case: Any) -> None:
        told = {
            "features": [": ".join(key) for key in FEATURE_HITS.elements()],
            "faults": [" ".join(key) for key in FAULT_HITS.elements()],
            "known": list(KNOWN_HITS.elements()),
            "violations": [] if group is None else [group.id],
        }
        for name, keys in told.items():
            self._pending[name].update(keys)
        within = [f"within: {': '.join(key)}" for key in features_within(case)]
        new = behaviours_of([*within, *(key for keys in told.values() for key in keys)]) - self._seen
        self._seen |= new
        self._pending["behaviours"] += new

    def _flush_in_time(self) -> None:
        if time.monotonic() - self._written > self._interval:
            self.flush()

    def flush(self) -> None:
        """Write down what was counted since the last time."""
        if self._pending["examples"] or self._pending["shrinking"]:
            now = time.monotonic()
            self._write({"is": "progress", **self._pending, "seconds": round(now - self._written, 3)})
            self._written = now
            self._pending = self._nothing()


def behaviours_of(keys: Any) -> set[int]:
    """What an example shows, as numbers: each feature, reached fault, known issue and violation, and each two of them.

    Which two come together is what bugs hang on, and there are few enough that a long run sees most of them.
    """
    single = sorted({crc32(key.encode()) for key in keys})
    return {*single, *(one << 32 | other for one, other in combinations(single, 2))}
