"""Inputs of DCP's planning functions as plain data: boxes, write items, plans, state dicts and layouts, in no world.

Like a scenario, each prints as Python that evaluates back to it, and shrinks towards less of everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .concise import Concise

__all__ = [
    "Box",
    "ChunkedShape",
    "Comparison",
    "Conflict",
    "Cut",
    "Held",
    "Item",
    "Leaf",
    "Load",
    "LoadEntry",
    "Merge",
    "MeshLayout",
    "NestedState",
    "Plans",
    "Reads",
    "Split",
    "Tiled",
    "Validation",
    "coordinate_of",
    "whole",
]


@dataclass(frozen=True, repr=False)
class Box(Concise):
    """A chunk of a tensor: where it begins and how large it is, in elements of each dim. Signs are not checked."""

    _positional = 2

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.sizes)


def whole(shape: Sequence[int]) -> Box:
    """The box of all elements of a tensor of that shape."""
    return Box((0,) * len(shape), tuple(shape))


@dataclass(frozen=True, repr=False)
class Tiled(Concise):
    """A tensor's shape and the boxes that it is said to be cut into; whether they tile it is not checked."""

    _positional = 2

    shape: tuple[int, ...] = ()
    boxes: tuple[Box, ...] = (Box((), ()),)


@dataclass(frozen=True, repr=False)
class Reads(Concise):
    """A tensor as it was saved, and the boxes of it that a rank wants to load."""

    _positional = 2

    saved: Tiled = Tiled()
    wanted: tuple[Box, ...] = (Box((), ()),)


@dataclass(frozen=True, repr=False)
class LoadEntry(Concise):
    """One name of a state dict to load: what was saved under it, and what stands there now.

    ``saved`` is ``None`` for an object. What stands there is ``"boxes"``, a sharded tensor with ``wanted`` on this
    rank; ``"tensor"``, a plain one; ``"object"``; or ``"resized"``, a tensor of another shape. What is ``missing`` was
    not saved at all.
    """

    _positional = 1

    saved: Tiled | None = None
    wanted: tuple[Box, ...] = ()
    target: Literal["boxes", "tensor", "object", "resized"] = "object"
    missing: bool = False


@dataclass(frozen=True, repr=False)
class Load(Concise):
    """A state dict to load, its entries named ``t0``, ``t1``, …; ``strict`` where each must have been saved."""

    entries: tuple[LoadEntry, ...] = ()
    strict: bool = True


@dataclass(frozen=True, repr=False)
class Item(Concise):
    """A write item: an object if it has no box, else a box of the tensor of that shape, a shard or a plain tensor."""

    _positional = 3

    fqn: str = "a"
    box: Box | None = None
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    shard: bool = True


@dataclass(frozen=True, repr=False)
class Held(Concise):
    """An item, and the ranks that plan to write it: all of them if none is named."""

    _positional = 2

    item: Item
    ranks: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class Plans(Concise):
    """The local save plans of all ranks.

    ``lowest`` is the planner's ``dedup_save_to_lowest_rank``. Where ``rotated``, each rank has its items in an order of
    its own.
    """

    _positional = 2

    world_size: int = 1
    held: tuple[Held, ...] = ()
    lowest: bool = False
    rotated: bool = False

    def holders(self, held: Held) -> tuple[int, ...]:
        """The ranks that plan to write it, ascending."""
        return tuple(sorted(set(held.ranks))) or tuple(range(self.world_size))

    def of_each_rank(self) -> list[list[Item]]:
        """The items of each rank's plan."""
        plans: list[list[Item]] = [[] for _ in range(self.world_size)]
        for held in self.held:
            for rank in self.holders(held):
                plans[rank].append(held.item)
        if self.rotated:
            for rank, items in enumerate(plans):
                first = rank % max(1, len(items))
                plans[rank] = items[first:] + items[:first]
        return plans


@dataclass(frozen=True, repr=False)
class Conflict(Concise):
    """Two items of one name that cannot both be true, on rank 0 and on rank 1."""

    _positional = 2

    one: Item
    other: Item


@dataclass(frozen=True, repr=False)
class Validation(Concise):
    """The metadata of tensors named ``t0``, ``t1``, …, to be validated for that many ranks' plans."""

    _positional = 2

    tensors: tuple[Tiled, ...] = ()
    plans: int = 2


@dataclass(frozen=True, repr=False)
class Split(Concise):
    """A rank's items, to be spread over that many files."""

    _positional = 2

    bins: int = 1
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, repr=False)
class Comparison(Concise):
    """A rank's plan in one save and in the next; ``paths`` are where the flattened names come from."""

    _positional = 2

    one: tuple[Item, ...] = ()
    other: tuple[Item, ...] = ()
    one_paths: tuple[tuple[str, ...], ...] = ()
    other_paths: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, repr=False)
class Merge(Concise):
    """How many ranks' plans are cached, and for each rank of the next save whether it sends a new one."""

    _positional = 2

    cached: int = 1
    changed: tuple[bool, ...] = (False,)


@dataclass(frozen=True, repr=False)
class Leaf(Concise):
    """A tensor in a nested state dict: 0-d, with that value."""

    value: int = 0


@dataclass(frozen=True, repr=False)
class NestedState(Concise):
    """A state dict of dicts, lists, tuples, leaves and plain objects, and a path to look up in it."""

    state: dict[Any, Any]
    path: tuple[str | int, ...] = ("a",)


@dataclass(frozen=True, repr=False)
class ChunkedShape(Concise):
    """A tensor to be cut by a ``ChunkShardingSpec`` with that many placements."""

    _positional = 3

    shape: tuple[int, ...] = (1,)
    dim: int = 0
    chunks: int = 1


@dataclass(frozen=True, repr=False)
class Cut(Concise):
    """``Shard(dim)``; with ``split``, ``_StridedShard(dim, split_factor=split)``."""

    _positional = 2

    dim: int = 0
    split: int = 0


@dataclass(frozen=True, repr=False)
class MeshLayout(Concise):
    """A ``DTensor``'s shape, mesh and placements, ``None`` for ``Replicate()``, and the ranks that are looked at."""

    _positional = 3

    shape: tuple[int, ...] = ()
    mesh: tuple[int, ...] = (1,)
    placements: tuple[Cut | None, ...] = (None,)
    ranks: tuple[int, ...] = (0,)


def coordinate_of(rank: int, mesh: Sequence[int]) -> tuple[int, ...]:
    """Where the rank is in a mesh of that shape, the last dim running fastest."""
    coordinate = []
    for size in reversed(mesh):
        coordinate.append(rank % size)
        rank //= size
    return tuple(reversed(coordinate))
