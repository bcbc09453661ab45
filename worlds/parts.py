"""Which indices of a global tensor a local tensor holds, and how a dim is cut: arithmetic on plain integers.

Nothing here knows of a rank or of a layout; those that say which rank holds which part are in :mod:`worlds.layouts`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Box", "Part", "chunk_runs", "joined_runs", "whole_runs"]

Run = tuple[int, int]
"""From the first index on, up to and without the second."""


@dataclass(frozen=True)
class Box:
    """A block of a global tensor without holes: ``sizes`` elements from ``offsets`` on."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    def __bool__(self) -> bool:
        return math.prod(self.sizes) > 0


@dataclass(frozen=True)
class Part:
    """What one local tensor holds: along each dim, runs of the global tensor's indices, one after the other."""

    runs: tuple[tuple[Run, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of the local tensor."""
        return tuple(sum(stop - start for start, stop in runs) for runs in self.runs)

    def boxes(self) -> Iterator[tuple[Box, tuple[int, ...]]]:
        """The blocks without holes that it consists of, each with its offsets within the local tensor."""
        for runs in itertools.product(*map(_placed, self.runs)):
            box = Box(tuple(start for start, _, _ in runs), tuple(stop - start for start, stop, _ in runs))
            yield box, tuple(local for _, _, local in runs)

    @staticmethod
    def of(box: Box) -> Part:
        """The part that is one block."""
        pairs = zip(box.offsets, box.sizes, strict=True)
        return Part(tuple(((offset, offset + size),) for offset, size in pairs))


def _placed(runs: Sequence[Run]) -> list[tuple[int, int, int]]:
    """Each run with its start in the local tensor; one empty run where there is no element."""
    placed, local = [], 0
    for start, stop in runs:
        if stop > start:
            placed.append((start, stop, local))
            local += stop - start
    return placed or [(runs[0][0] if runs else 0, runs[0][0] if runs else 0, 0)]


def chunk_runs(runs: Sequence[Run], count: int) -> list[tuple[Run, ...]]:
    """``runs`` cut as by ``torch.chunk`` into ``count`` pieces, the empty ones at the end too.

    All pieces have ``ceil(size / count)`` indices but the last non-empty one; those behind it have none.
    """
    size = sum(stop - start for start, stop in runs)
    step = math.ceil(size / count)
    return [_cut(runs, min(index * step, size), min((index + 1) * step, size)) for index in range(count)]


def _cut(runs: Sequence[Run], low: int, high: int) -> tuple[Run, ...]:
    """The indices from place ``low`` up to place ``high`` of those in ``runs``; an empty run where there are none."""
    found, place = [], 0
    for start, stop in runs:
        first, last = max(low, place), min(high, place + stop - start)
        if first < last:
            found.append((start + first - place, start + last - place))
        place += stop - start
    if found:
        return tuple(found)
    end = runs[-1][1] if runs else 0
    return ((end, end),)


def whole_runs(shape: Sequence[int]) -> list[tuple[Run, ...]]:
    """All indices of each dim of a tensor of that shape."""
    return [((0, extent),) for extent in shape]


def joined_runs(runs: Iterator[Run]) -> tuple[Run, ...]:
    """Runs that go on where the one before ends are one; empty ones are left out, unless there is no other."""
    found: list[Run] = []
    empty: Run = (0, 0)
    for start, stop in runs:
        if start == stop:
            empty = (start, stop)
        elif found and found[-1][1] == start:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return tuple(found) or (empty,)
