"""What a state dict must hold that is made of a checkpoint alone: all that was saved, or what keys ask for of it.

A model of what a checkpoint knows, which imports nothing from DCP. Mappings come back as dicts, whatever kind they
were. Where only some places of a list are asked for, ``None`` is at those before them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

import torch

from worlds.dtypes import DTYPES
from worlds.entries import Entry, Key, Nested, ObjectEntry, Path, TensorEntry
from worlds.layouts import EnumerableSharding, MeshSharding
from worlds.memory import PADDING
from worlds.operations import Operation
from worlds.outcome import ChunkState, ContainerState, EntryState, ObjectState, TensorState
from worlds.parts import Box, Part
from worlds.rebuilding import Rebuilding
from worlds.scenario import Scenario
from worlds.state import OVERWRITTEN
from worlds.state_tree import children
from worlds.unread import unread
from worlds.values import expected_bits, tensor_bits, tensor_bytes

from .staged_objects import as_staged

__all__ = ["DEVIATIONS", "Deviation", "expected_rebuilding", "paths_of_local_tensors"]

Deviation = Literal[
    "text keys", "no empty dicts", "own part", "wrongly staged", "objects staged", "local tensors", "places before"
]
"""A way in which what DCP rebuilds is known to differ: the keys of mappings are all text; what holds nothing is left
out; only what the reading rank has saved itself is there; an ``async_save`` has saved other bits, or other objects, or
the local tensor that some rank had as all of a ``CheckpointableTensor``; in a list, objects before the place that was
asked for are there too."""

DEVIATIONS: tuple[Deviation, ...] = get_args(Deviation)


@dataclass(frozen=True)
class _Leaf:
    """A tensor, an object, or a container with nothing in it.

    ``places`` says of each step of the path whether it is a place in a list. The first ``unit`` steps are the name
    under which it, or what it is a part of, was saved.
    """

    path: Path
    places: tuple[bool, ...]
    entry: Entry
    unit: int

    def names(self) -> Iterator[str]:
        """By which it can be asked for: the name under which it was saved, and the beginnings of that."""
        return (".".join(map(str, self.path[:length])) for length in range(1, self.unit + 1))

    def is_asked_for(self, keys: Sequence[str] | None) -> bool:
        """Whether it is what these keys ask for; all is, without keys."""
        return keys is None or any(name in keys for name in self.names())

    def is_object_before(self, other: _Leaf) -> bool:
        """Whether it is, or is a part of, an object in a list that has ``other`` at, or below, a later place."""
        *parent, place = self.path[: self.unit]
        shared = other.path[: len(parent)] == tuple(parent) and len(other.path) > len(parent)
        if (
            not shared
            or not self.places[len(parent)]
            or (isinstance(self.entry, TensorEntry) and self.unit == len(self.path))
        ):
            return False
        later = other.path[len(parent)]
        return isinstance(place, int) and isinstance(later, int) and place < later

    def is_on(self, rank: int) -> bool:
        """Whether the rank has saved any of it."""
        if isinstance(self.entry, Nested):
            return True
        if isinstance(self.entry, TensorEntry):
            return self.entry.saved is not None and bool(self.entry.saved.parts(self.entry.shape, rank))
        return self.entry.saved is not None and self.entry.saved.is_on(rank)


def expected_rebuilding(
    rebuilding: Rebuilding,
    rank: int,
    deviations: frozenset[Deviation] = frozenset(),
    local_on: Mapping[Path, int] = MappingProxyType({}),
) -> dict[Path, EntryState]:
    """What that rank must hold, by path; with ``deviations``, what it holds where DCP deviates so.

    ``local_on`` says, for "local tensors", on which rank each was that is there as the whole.
    """
    own = None if "own part" not in deviations else rank if rebuilding.reader.distributed else 0
    local_on = local_on if "local tensors" in deviations else {}
    staged, others = ("wrongly staged" in deviations, "objects staged" in deviations)
    content = _Content(rebuilding.scenario, own, staged, others, local_on)
    tree: dict[Key, Any] = {}
    leaves = list(_leaves(rebuilding.scenario))
    asked = [leaf for leaf in leaves if leaf.is_asked_for(rebuilding.keys)]
    if "places before" in deviations:
        asked = [leaf for leaf in leaves if leaf in asked or any(leaf.is_object_before(other) for other in asked)]
    for leaf in asked:
        lost = "no empty dicts" in deviations and _is_empty_dict(leaf.entry)
        if not lost and (own is None or leaf.is_on(own)):
            _put(tree, leaf, as_text="text keys" in deviations)
    return {state.path: state for state in _states(tree, (), content)}


def paths_of_local_tensors(rebuilding: Rebuilding) -> tuple[Path, ...]:
    """Where tensors are of which only the local one may be in the checkpoint: the storage writer does the staging."""
    save = rebuilding.scenario.save
    if not save.uploads or save.stager != "writer":
        return ()
    return tuple(leaf.path for leaf in _leaves(rebuilding.scenario) if _is_local_tensor(leaf.entry))


def _is_local_tensor(entry: Entry) -> bool:
    saved = entry.saved if isinstance(entry, TensorEntry) else None
    return isinstance(saved, EnumerableSharding) and saved.kind == "CheckpointableTensor"


def _is_empty_dict(entry: Entry) -> bool:
    return isinstance(entry, Nested) and not entry.is_sequence


def _leaves(scenario: Scenario) -> Iterator[_Leaf]:
    units = {unit.path for unit in scenario.units("save")}
    for path, places, entry in _walk(children(scenario.entries, "save"), (False,)):
        unit = next((length for length in range(1, len(path)) if path[:length] in units), len(path))
        yield _Leaf(path, places, entry, unit)


def _walk(
    placed: Iterable[tuple[Path, Entry]], places: tuple[bool, ...]
) -> Iterator[tuple[Path, tuple[bool, ...], Entry]]:
    for path, entry in placed:
        inside: list[tuple[Path, Entry]] = []
        if isinstance(entry, Nested) and entry.container != "tuple":
            inside = list(children(entry.entries, "save", path=path, sequence=entry.is_sequence))
        if inside:
            assert isinstance(entry, Nested)
            yield from _walk(inside, (*places, entry.is_sequence))
        else:
            yield path, places, entry


def _put(tree: dict[Key, Any], leaf: _Leaf, *, as_text: bool) -> None:
    """Place the leaf in the dicts and lists that lead to it, and make those that are missing."""
    container: Any = tree
    for step, is_place, next_is_place in zip(leaf.path, leaf.places, (*leaf.places[1:], None), strict=True):
        if is_place:
            assert isinstance(step, int)
            container.extend([None] * (step + 1 - len(container)))
        elif as_text:
            step = str(step)
        if next_is_place is None:
            container[step] = leaf
            return
        if (container[step] if is_place else container.get(step)) is None:
            container[step] = [] if next_is_place else {}
        container = container[step]


def _states(tree: Any, path: Path, content: _Content) -> Iterator[EntryState]:
    if isinstance(tree, dict | list):
        if path:
            yield ContainerState(path, type(tree).__name__)
        for step, inner in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _states(inner, (*path, step), content)
    elif tree is None:
        yield ObjectState(path, "NoneType", "None")
    else:
        yield _state(tree, path, content)


def _state(leaf: _Leaf, path: Path, content: _Content) -> EntryState:
    entry = leaf.entry
    if isinstance(entry, TensorEntry):
        shape, data = content.tensor(leaf, entry)
        return TensorState(path, "Tensor", entry.dtype, shape, (ChunkState((0,) * len(shape), shape, data),))
    if not isinstance(entry, Nested) or entry.container == "tuple":
        return ObjectState(path, *content.of_object(leaf, entry))
    return ContainerState(path, "list" if entry.is_sequence else "dict")


def _name(leaf: _Leaf) -> str:
    return ".".join(map(str, leaf.path))


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) for start, size in zip(box.offsets, box.sizes, strict=True))


@dataclass(frozen=True)
class _Content:
    """What tensors hold: only what the rank ``own`` has saved, if there is one; as ``async_save`` has ``staged`` it.

    With ``others`` it has made other objects. Of the tensors in ``local_on`` it has saved the local one alone, as that
    rank had it.
    """

    scenario: Scenario
    own: int | None
    staged: bool
    others: bool
    local_on: Mapping[Path, int]

    def of_object(self, leaf: _Leaf, entry: ObjectEntry | Nested) -> tuple[str, str]:
        """The type and the text of an object."""
        save = self.scenario.save if self.others else Operation()
        return as_staged(leaf.path, entry, save, find=self.whole)

    def tensor(self, leaf: _Leaf, entry: TensorEntry) -> tuple[tuple[int, ...], bytes]:
        """The shape, and the elements in row-major order."""
        if leaf.path in self.local_on:
            return self._local(leaf, entry, self.local_on[leaf.path])
        return entry.shape, self._whole_tensor(leaf, entry)

    def _local(self, leaf: _Leaf, entry: TensorEntry, rank: int) -> tuple[tuple[int, ...], bytes]:
        """The rank's tiles, with the padding beside them."""
        assert isinstance(entry.saved, EnumerableSharding)
        shape, places = entry.saved.local_boxes(entry.shape, rank)
        bits = torch.full((*shape, DTYPES[entry.dtype].itemsize), PADDING, dtype=torch.uint8)
        for place, part in zip(places, entry.saved.parts(entry.shape, rank), strict=True):
            bits[_slices(place)] = expected_bits(_name(leaf), entry, part)
        return shape, tensor_bytes(bits)

    def _whole_tensor(self, leaf: _Leaf, entry: TensorEntry) -> bytes:
        """What nobody has saved of it is as it was before the reading."""
        assert entry.saved is not None
        name = _name(leaf)
        if self.own is None:
            return self.whole(name, entry, Box((0,) * len(entry.shape), entry.shape))
        dtype = DTYPES[entry.dtype]
        bits = torch.full((*entry.shape, dtype.itemsize), unread(dtype), dtype=torch.uint8)
        for part in entry.saved.parts(entry.shape, self.own):
            for box, _ in part.boxes():
                bits[_slices(box)] = self._saved(name, entry, box)
        return tensor_bytes(bits)

    def whole(self, name: str, entry: TensorEntry, box: Box) -> bytes:
        """All elements, which is what ``box`` is."""
        return tensor_bytes(self._saved(name, entry, box))

    def _saved(self, name: str, entry: TensorEntry, box: Box) -> torch.Tensor:
        bits = expected_bits(name, entry, Part.of(box))
        return self._as_staged(entry, bits) if self.staged else bits

    def _as_staged(self, entry: TensorEntry, bits: torch.Tensor) -> torch.Tensor:
        """What is saved of a tensor that is conjugated or negated lazily, and of a 0-d ``DTensor``."""
        save = self.scenario.save
        assert entry.saved is not None
        if not save.uploads:
            return bits
        if save.stager == "writer":
            if entry.shape or not isinstance(entry.saved, MeshSharding):
                return bits
            # In memory, which may be that of the conjugate or the negative; what is copied of a bool is 0 or 1.
            bits = torch.full_like(bits, 1 if entry.dtype == "bool" else OVERWRITTEN)
        physical = {"conjugated": torch.conj_physical, "negated": torch.neg}.get(entry.saved.memory)
        if physical is None or not bits.numel():
            return bits
        return tensor_bits(physical(bits.view(DTYPES[entry.dtype]).squeeze(-1)))
