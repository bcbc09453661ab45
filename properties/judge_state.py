"""Judges what the ranks hold: bits, dtypes, shapes, keys, and memory that nobody should have touched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from worlds.dtypes import DTYPES
from worlds.outcome import ChunkState, EntryState, ObjectState, OperationOutcome, Returned, TensorState
from worlds.scenario import Entry, ObjectEntry, Scenario, TensorEntry
from worlds.values import expected_bytes, poison_bytes

from .verdict import Breach
from .violations import (
    ChangedInput,
    ChangedOutside,
    NotInPlace,
    NotLoaded,
    WrongBits,
    WrongKeys,
    WrongObject,
    WrongTensor,
)

__all__ = ["judge_state"]

Name = Literal["save", "load"]
Chunk = tuple[tuple[int, ...], tuple[int, ...]]


def judge_state(scenario: Scenario, name: Name, outcome: OperationOutcome) -> Iterator[Breach]:
    """What is wrong with the state dicts after an operation that returned: each must hold what was saved.

    After a save, anything else than before is a :class:`ChangedInput`.
    """
    for rank, seen in enumerate(outcome.ranks):
        if isinstance(seen, Returned):
            for breach in _state(scenario, name, rank, seen.state):
                yield breach if name == "load" else _as_changed_input(breach)


def _as_changed_input(breach: Breach) -> Breach:
    return Breach(ChangedInput, f"{breach.headline} (the save changed it)", breach.operation, breach.detail)


def _state(scenario: Scenario, name: Name, rank: int, state: Sequence[EntryState]) -> Iterator[Breach]:
    keys, before = [entry.fqn for entry in state], [entry.fqn for entry in scenario.entries]
    if scenario.container == "module":  # whose state dict has an order of its own
        keys, before = sorted(keys), sorted(before)
    if keys != before:
        yield Breach(WrongKeys, f"{name}: rank {rank} holds the keys {keys}, and held {before}", name)
        return
    entries = {entry.fqn: entry for entry in scenario.entries}
    for seen in state:
        yield from _entry(name, rank, entries[seen.fqn], seen)


def _entry(name: Name, rank: int, entry: Entry, seen: EntryState) -> Iterator[Breach]:
    where = f"{name}: {entry.fqn!r} on rank {rank}"
    if isinstance(entry, ObjectEntry):
        expected = ObjectState(entry.fqn, type(entry.value).__name__, repr(entry.value))
        if seen != expected:
            yield Breach(WrongObject, f"{where} is not the object that was saved", name, _beside(expected, seen))
    elif not isinstance(seen, TensorState):
        yield Breach(WrongTensor, f"{where} is no tensor any more but {seen.type} {seen.text}", name)
    else:
        yield from _tensor(where, name, rank, entry, seen)


def _tensor(where: str, name: Name, rank: int, entry: TensorEntry, seen: TensorState) -> Iterator[Breach]:
    sharding = entry.saved if name == "save" else entry.loaded
    kind = "Tensor" if sharding is None else "ShardedTensor"
    for what, expected, got in (
        ("kind", kind, seen.kind),
        ("dtype", entry.dtype, seen.dtype),
        ("shape", entry.shape, seen.shape),
        ("chunks", _chunks(entry, name, rank), _non_empty(seen.chunks)),
    ):
        if expected != got:
            headline = f"{where} has another {what} than its target: {got} instead of {expected}"
            yield Breach(WrongTensor, headline, name)
            return
    for chunk in sorted(seen.chunks, key=lambda chunk: chunk.offsets):
        yield from _bits(where, name, entry, chunk)
    if not seen.in_place:
        yield Breach(NotInPlace, f"{where} is another tensor than the one to load into", name)
    if not seen.guards_intact:
        yield Breach(ChangedOutside, f"{where}: memory beside the tensor was written", name)


def _chunks(entry: TensorEntry, name: Name, rank: int) -> list[Chunk]:
    """The chunks with elements that the rank must hold, sorted."""
    sharding = entry.saved if name == "save" else entry.loaded
    if sharding is None:
        return [((0,) * len(entry.shape), entry.shape)] if math.prod(entry.shape) else []
    mine = ((offsets, sizes) for owner, offsets, sizes in sharding.chunks(entry.shape) if owner == rank)
    return sorted((offsets, sizes) for offsets, sizes in mine if math.prod(sizes))


def _non_empty(chunks: Sequence[ChunkState]) -> list[Chunk]:
    return sorted((chunk.offsets, chunk.sizes) for chunk in chunks if math.prod(chunk.sizes))


def _bits(where: str, name: Name, entry: TensorEntry, chunk: ChunkState) -> Iterator[Breach]:
    if not chunk.data:
        return
    expected = expected_bytes(entry, chunk.offsets, chunk.sizes)
    if chunk.data == expected:
        return
    width = DTYPES[entry.dtype].itemsize
    wanted, got = _elements(expected, width), _elements(chunk.data, width)
    poison = _elements(poison_bytes(entry, chunk.offsets, chunk.sizes), width)
    wrong = [index for index, element in enumerate(got) if element != wanted[index]]
    untouched = [index for index in wrong if got[index] == poison[index]]
    count = f"{len(wrong)} of {len(wanted)} elements of its chunk at {list(chunk.offsets)}"
    # Were they written at all? An untouched element and a wrong one are different bugs.
    detail = tuple(_differences(entry, chunk, wanted, got, wrong, set(untouched)))
    if len(untouched) == len(wrong):
        yield Breach(NotLoaded, f"{where}: {count} were not loaded", name, detail)
    else:
        yield Breach(WrongBits, f"{where}: {count} are not what was saved", name, detail)


def _differences(
    entry: TensorEntry,
    chunk: ChunkState,
    wanted: Sequence[bytes],
    got: Sequence[bytes],
    wrong: Sequence[int],
    untouched: set[int],
    limit: int = 6,
) -> Iterator[str]:
    for index in wrong[:limit]:
        place = list(_global_index(chunk, index))
        note = ", as before the load" if index in untouched else ""
        yield f"element   {entry.fqn}{place}: expected {wanted[index].hex()}, seen {got[index].hex()}{note}"
    if len(wrong) > limit:
        yield f"          … and {len(wrong) - limit} more"


def _global_index(chunk: ChunkState, index: int) -> tuple[int, ...]:
    place = []
    for offset, size in zip(reversed(chunk.offsets), reversed(chunk.sizes), strict=True):
        index, within = divmod(index, size)
        place.append(offset + within)
    return tuple(reversed(place))


def _elements(data: bytes, width: int) -> list[bytes]:
    return [data[start : start + width] for start in range(0, len(data), width)]


def _beside(expected: ObjectState, seen: EntryState) -> tuple[str, str]:
    got = f"{seen.type} {seen.text}" if isinstance(seen, ObjectState) else "a tensor"
    return (f"expected  {expected.type} {expected.text}", f"seen      {got}")
