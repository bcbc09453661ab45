"""How large a case of any law is: what a person who reads it counts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from worlds import Fault, FileFault, ObjectEntry, Operation, TensorEntry
from worlds.damage import Damage
from worlds.killed import Kill
from worlds.plans import ChunkedShape, Held, Item, LoadEntry, MeshLayout, NestedState, Tiled
from worlds.quantized import Quantized
from worlds.training import Training
from worlds.training.misfit import Misfit
from worlds.windows import Window

__all__ = ["Size", "size_of"]

_FAULTS = (Fault, FileFault, Damage, Kill)
_ENTRIES = (TensorEntry, ObjectEntry, Held, Item, LoadEntry, Tiled, ChunkedShape, MeshLayout)


@dataclass(frozen=True)
class Size:
    """Ranks of the largest world; entries; elements of the largest tensor; faults and damages; letters as it prints.

    The entries of a training are its layers, and those of a nested state dict its keys at the top.
    """

    ranks: int
    entries: int
    elements: int
    faults: int
    letters: int

    def to_data(self) -> dict[str, int]:
        """As JSON has it."""
        return asdict(self)


def size_of(case: Any) -> Size:
    """The size of a case; of one without ranks, entries, tensors or faults these are 1, 0, 0 and 0."""
    if isinstance(case, Window | Quantized):
        return replace(size_of(case.scenario), letters=len(repr(case)))
    parts = list(_parts(case))
    shapes = [part.shape for part in parts if isinstance(getattr(part, "shape", None), tuple)]
    return Size(
        ranks=max([1, *map(_ranks, parts)]),
        # An item is in what is held, and a box in what is loaded: the outermost counts.
        entries=_entries(case),
        elements=max([0, *map(math.prod, shapes)]),
        faults=sum(isinstance(part, _FAULTS) for part in parts),
        letters=len(repr(case)),
    )


def _entries(case: Any) -> int:
    if isinstance(case, Training | Misfit):
        return len(case.layers)
    if isinstance(case, NestedState):
        return len(case.state)
    return sum(isinstance(part, _ENTRIES) for part in _outermost(case))


def _ranks(part: Any) -> int:
    if isinstance(part, Operation):
        return part.whole_world
    if isinstance(part, MeshLayout):
        return math.prod(part.mesh)
    if isinstance(part, Training):
        return max(part.saved.parallelism.world_size, part.loaded.parallelism.world_size)
    for name in ("world_size", "chunks", "plans", "cached"):
        number = getattr(part, name, None)
        if isinstance(number, int):
            return number
    return 1


def _inner(value: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(value):
        yield from (getattr(value, field.name) for field in dataclasses.fields(value))
    elif isinstance(value, tuple | list):
        yield from value


def _parts(value: Any) -> Iterator[Any]:
    yield value
    for inner in _inner(value):
        yield from _parts(inner)


def _outermost(value: Any) -> Iterator[Any]:
    """Entries that are in no other one, and what they are in."""
    yield value
    if not isinstance(value, _ENTRIES):
        for inner in _inner(value):
            yield from _outermost(inner)
