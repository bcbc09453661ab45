"""What a load would have come to, had it read in the place of what is damaged what was saved there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from worlds.dtypes import DTYPES
from worlds.entries import Path
from worlds.outcome import ChunkState, EntryState, OperationOutcome, Returned, TensorState
from worlds.parts import Box
from worlds.scenario import Scenario

from .damage_reads import DamageReads, overlap
from .expected_state import ExpectedState, ExpectedTensor, expected_state

__all__ = ["mended"]


def mended(scenario: Scenario, load: OperationOutcome, reads: DamageReads) -> OperationOutcome:
    """The load, where every element and every object that is kept in damaged bytes is what it must be.

    What is wrong in it is wrong outside of the damage.
    """
    objects = {record.fqn for record in reads.harmed if record.offsets is None}
    paths = [unit.path for unit in scenario.units("load") if unit.tensor is None and unit.fqn in objects]
    ranks = [
        replace(seen, state=tuple(_state(scenario, rank, seen, reads, paths))) if isinstance(seen, Returned) else seen
        for rank, seen in enumerate(load.ranks)
    ]
    return replace(load, ranks=tuple(ranks))


def _state(
    scenario: Scenario, rank: int, seen: Returned, reads: DamageReads, objects: Sequence[Path]
) -> Iterator[EntryState]:
    expected = expected_state(scenario, "load", rank)
    by_path = {wanted.path: wanted for wanted in expected}
    done: set[Path] = set()
    for state in seen.state:
        below = next((path for path in objects if state.path[: len(path)] == path), None)
        wanted = by_path.get(state.path)
        if below is not None:
            if below not in done:
                done.add(below)
                yield from (_as_seen(one) for one in expected if one.path[: len(below)] == below)
        elif isinstance(state, TensorState) and isinstance(wanted, ExpectedTensor):
            boxes = list(reads.boxes(wanted.fqn))
            yield replace(state, chunks=tuple(_chunk(wanted, chunk, boxes) for chunk in state.chunks))
        else:
            yield state


def _as_seen(wanted: ExpectedState) -> EntryState:
    """What is expected, as it is seen where it is there."""
    if not isinstance(wanted, ExpectedTensor):
        return wanted
    entry = wanted.entry
    whole = Box((0,) * len(entry.shape), entry.shape)
    chunk = ChunkState(whole.offsets, whole.sizes, wanted.bytes_of(whole))
    return TensorState(wanted.path, wanted.layout.kind, entry.dtype, entry.shape, (chunk,), wanted.in_place)


def _chunk(wanted: ExpectedTensor, chunk: ChunkState, boxes: Sequence[Box]) -> ChunkState:
    width = DTYPES[wanted.entry.dtype].itemsize
    box = Box(chunk.offsets, chunk.sizes)
    data = bytearray(chunk.data)
    right = wanted.bytes_of(box) if data and boxes else b""
    for damaged in boxes:
        common = overlap(box, damaged)
        if common is not None and data:
            for element in _elements(box, common):
                data[element * width : (element + 1) * width] = right[element * width : (element + 1) * width]
    return replace(chunk, data=bytes(data))


def _elements(box: Box, common: Box) -> Iterator[int]:
    """The places in ``box``, in row-major order, of the elements of a box within it."""
    runs = [
        range(offset - start, offset - start + size)
        for start, offset, size in zip(box.offsets, common.offsets, common.sizes, strict=True)
    ]
    for place in itertools.product(*runs):
        index = 0
        for within, size in zip(place, box.sizes, strict=True):
            index = index * size + within
        yield index
