"""What planning has to come to, by brute force: arrays in which every element is written, counted and compared.

Nothing here knows of ``torch.distributed``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worlds.plans import Box, Item, MeshLayout, Tiled, coordinate_of

__all__ = [
    "Read",
    "chunk_rows",
    "could_be_last",
    "index_of",
    "index_right_to_left",
    "is_box",
    "item_bytes",
    "read_defect",
    "tiling_defect",
]

Array = npt.NDArray[np.int64]
_BYTES = {"float32": 4, "float64": 8, "int8": 1, "bool": 1}


@dataclass(frozen=True)
class Read:
    """A read item as plain data: where to, where from, and how much."""

    to: tuple[int, ...]
    """Offsets of the wanted box."""
    to_hint: int | None
    """Its place among the wanted ones."""
    to_start: tuple[int, ...]
    """Where in the wanted box."""
    source: tuple[int, ...]
    """Offsets of the saved box."""
    source_hint: int | None
    source_start: tuple[int, ...]
    lengths: tuple[int, ...]


def _slices(offsets: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) for start, size in zip(offsets, sizes, strict=True))


def _fits(offsets: Sequence[int], sizes: Sequence[int], shape: Sequence[int]) -> bool:
    if not len(offsets) == len(sizes) == len(shape):
        return False
    spans = zip(offsets, sizes, shape, strict=True)
    return all(start >= 0 and size >= 0 and start + size <= extent for start, size, extent in spans)


def tiling_defect(tiled: Tiled) -> str | None:
    """Why the boxes are no exact tiling of the shape: outside, twice, or not at all; ``None`` if they are one."""
    count = np.zeros(tiled.shape, dtype=np.int64)
    for box in tiled.boxes:
        if not _fits(box.offsets, box.sizes, tiled.shape):
            return f"{box} is outside of the shape {tiled.shape}"
        count[_slices(box.offsets, box.sizes)] += 1
    if (count > 1).any():
        return f"element {_where(count > 1)} is in two chunks"
    if (count < 1).any():
        return f"element {_where(count < 1)} is in no chunk"
    return None


def _where(mask: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(axis) for axis in np.argwhere(mask)[0])


def read_defect(saved: Tiled, wanted: Sequence[Box], reads: Sequence[Read]) -> str | None:
    """Why the reads do not fill each wanted box exactly once with its elements; ``None`` if they do.

    Every saved chunk is an array of the elements' global indices; the reads are carried out on them.
    """
    everything = np.arange(math.prod(saved.shape), dtype=np.int64).reshape(saved.shape)
    chunks = [everything[_slices(box.offsets, box.sizes)] for box in saved.boxes]
    targets = [np.full(box.sizes, -1, dtype=np.int64) for box in wanted]
    counts = [np.zeros(box.sizes, dtype=np.int64) for box in wanted]
    for read in reads:
        target, source = read.to_hint, read.source_hint
        if target is None or not 0 <= target < len(wanted) or wanted[target].offsets != read.to:
            return f"{read} goes to no wanted chunk"
        if source is None or not 0 <= source < len(chunks) or saved.boxes[source].offsets != read.source:
            return f"{read} comes from no saved chunk"
        if not _fits(read.to_start, read.lengths, wanted[target].sizes):
            return f"{read} goes outside of its wanted chunk"
        if not _fits(read.source_start, read.lengths, saved.boxes[source].sizes):
            return f"{read} goes outside of its saved chunk"
        to = _slices(read.to_start, read.lengths)
        targets[target][to] = chunks[source][_slices(read.source_start, read.lengths)]
        counts[target][to] += 1
    for box, filled, count in zip(wanted, targets, counts, strict=True):
        if (count != 1).any():
            return f"element {_where(count != 1)} of the wanted {box} is read {int(count[count != 1][0])} times"
        wrong = filled != everything[_slices(box.offsets, box.sizes)]
        if wrong.any():
            return f"element {_where(wrong)} of the wanted {box} is read from elsewhere"
    return None


def item_bytes(item: Item) -> int:
    """What writing it costs: the bytes of its chunk, and 1 for an object or nothing at all."""
    return (0 if item.box is None else item.box.numel * _BYTES[item.dtype]) or 1


def could_be_last(load: Sequence[int], rank: int, size: int, holders: Sequence[int]) -> bool:
    """Whether the rank can have got an item of that size last of all, as the least loaded of its holders."""
    return all(load[rank] - size <= load[other] for other in holders)


def chunk_rows(extent: int, chunks: int) -> Iterator[tuple[int, int]]:
    """(start, size) of each of the chunks into which ``torch.chunk`` cuts, filled up with empty ones at the end."""
    rows = -(-extent // chunks)
    for rank in range(chunks):
        start = min(rank * rows, extent)
        yield start, min(start + rows, extent) - start


def _part(index: Array, parts: int, which: int) -> Array:
    """The chunk of that number, of as many as ``torch.chunk`` would make or, behind them, empty."""
    rows = -(-len(index) // parts)
    return index[which * rows : (which + 1) * rows]


def index_of(layout: MeshLayout, rank: int) -> list[Array]:
    """For each dim, the global indices that the rank's local tensor has along it.

    Placements are applied from left to right. ``Shard`` keeps one chunk of what is there. ``_StridedShard`` cuts what
    is there into ``split_factor`` chunks, each of those into one for each rank, and keeps the rank's of each, joined.
    """
    coordinate = coordinate_of(rank, layout.mesh)
    index: list[Array] = [np.arange(extent, dtype=np.int64) for extent in layout.shape]
    for cut, parts, which in zip(layout.placements, layout.mesh, coordinate, strict=True):
        if cut is not None:
            pieces = [_part(index[cut.dim], cut.split, piece) for piece in range(cut.split)] if cut.split else None
            index[cut.dim] = _part(index[cut.dim], parts, which) if pieces is None else _joined(pieces, parts, which)
    return index


def _joined(pieces: list[Array], parts: int, which: int) -> Array:
    return np.concatenate([_part(piece, parts, which) for piece in pieces])


def index_right_to_left(layout: MeshLayout, rank: int) -> list[Array]:
    """As :func:`index_of`, of a layout in which the last mesh dim was sharded first: each cut keeps one chunk.

    That is how FSDP on top of tensor parallelism comes to its shards, and what ``_StridedShard`` documents that it
    stands for.
    """
    coordinate = coordinate_of(rank, layout.mesh)
    index: list[Array] = [np.arange(extent, dtype=np.int64) for extent in layout.shape]
    for cut, parts, which in reversed(list(zip(layout.placements, layout.mesh, coordinate, strict=True))):
        if cut is not None:
            index[cut.dim] = _part(index[cut.dim], parts, which)
    return index


def is_box(index: Sequence[Array]) -> bool:
    """Whether the elements lie in one box: along every dim, without a gap."""
    return all(len(axis) == 0 or int(axis[-1]) - int(axis[0]) == len(axis) - 1 for axis in index)
