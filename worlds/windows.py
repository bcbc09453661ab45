"""A window of a saved tensor that is loaded as if it were the whole, as plain data: what a slice of the ranks holds."""

from __future__ import annotations

from dataclasses import dataclass

from .concise import Concise
from .entries import ObjectEntry, TensorEntry
from .invalid import require
from .layouts import EnumerableSharding, Layout, Plain, Tile
from .operations import Operation
from .outcome import OperationOutcome
from .scenario import Scenario

__all__ = ["NAME", "Window", "WindowOutcome"]

NAME = "a"
"""The tensor of which a window is loaded; beside it are another tensor and an object, which are loaded whole.

The other tensor in one shard, on the first rank, so that the planner asks which of the two has a window.
"""

_PLAIN = Plain()
_ONE = Operation()


@dataclass(frozen=True, repr=False)
class Window(Concise):
    """A tensor of ``shape`` that is saved, and the window from ``offset`` on that is loaded as a ``ShardedTensor``.

    The window has ``width`` elements along each dim but the first; along that, each rank that loads has as many rows
    as ``rows`` says, one after the other: the planner takes one shard on each rank, no more and no less.
    """

    shape: tuple[int, ...] = (1,)
    offset: tuple[int, ...] = (0,)
    rows: tuple[int, ...] = (1,)
    width: tuple[int, ...] = ()
    dtype: str = "float32"
    saved: Layout = _PLAIN
    save: Operation = _ONE

    def __post_init__(self) -> None:
        require(len(self.offset) == len(self.shape) == len(self.width) + 1, "a window has the dims of its tensor")
        require(bool(self.rows) and min(self.rows) >= 1, "each rank that loads has a row")
        ends = (start + size for start, size in zip(self.offset, self.sizes, strict=True))
        inside = all(end <= extent for end, extent in zip(ends, self.shape, strict=True))
        require(inside and min(self.offset) >= 0, "a window lies in its tensor")
        _ = self.scenario  # which checks the rest

    @property
    def sizes(self) -> tuple[int, ...]:
        """The window's shape."""
        return (sum(self.rows), *self.width)

    @property
    def scenario(self) -> Scenario:
        """The save of the tensor, and the load of one of the window's shape under its name."""
        starts = [sum(self.rows[:rank]) for rank in range(len(self.rows))]
        tiles = tuple(
            Tile(rank, (start, *(0 for _ in self.width)), (rows, *self.width))
            for rank, (start, rows) in enumerate(zip(starts, self.rows, strict=True))
        )
        return Scenario(
            entries=(
                TensorEntry(NAME, self.shape, self.dtype, saved=self.saved, loaded=None),
                TensorEntry(NAME, self.sizes, self.dtype, saved=None, loaded=EnumerableSharding(tiles)),
                TensorEntry("b", (2,), loaded=EnumerableSharding((Tile(0, (0,), (2,)),))),
                ObjectEntry("o", (1, "x")),
            ),
            save=self.save,
            load=Operation(len(self.rows), api="legacy"),
        )


@dataclass(frozen=True)
class WindowOutcome:
    """What came of it; ``load`` is ``None`` where the save did not return on every rank, which other laws judge."""

    save: OperationOutcome
    load: OperationOutcome | None = None
