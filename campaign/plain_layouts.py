"""Layouts in the place of which a plainer one may do: of another kind, on fewer ranks, in fewer parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from worlds import ChunkSharding, EnumerableSharding, MeshSharding, Plain, Replicate, Shard, TensorEntry, Tile
from worlds.plans import Box, Tiled

__all__ = ["cut_in_two", "other_layouts", "plainer_layouts", "plainer_parts"]

_Part = TypeVar("_Part", Box, Tile)
_Parts = dict[str, Any]
"""Fields that are to have other values, at once."""

_LAYOUTS = (
    Plain(),
    ChunkSharding(0, (0,)),
    ChunkSharding(0, (0, 0)),
    ChunkSharding(0, (0, 1)),
    MeshSharding((1,), (Replicate(),)),
    MeshSharding((1,), (Shard(0),)),
    MeshSharding((2,), (Replicate(),)),
    MeshSharding((2,), (Shard(0),)),
)


def plainer_layouts(value: Any) -> Iterator[Any]:
    """The plainest layouts there are, in the place of one; nothing in that of anything else."""
    if isinstance(value, Plain | ChunkSharding | EnumerableSharding | MeshSharding):
        yield from (layout for layout in _LAYOUTS if layout != value)


def other_layouts(value: Any) -> Iterator[Any]:
    """The same, and a mesh of other ranks, the last ones or in another order."""
    yield from plainer_layouts(value)
    if isinstance(value, MeshSharding):
        count = math.prod(value.mesh)
        yield replace(value, ranks=tuple(range(1, count + 1)))
        yield replace(value, ranks=tuple(reversed(range(count))))


def cut_in_two(value: Any) -> Iterator[_Parts]:
    """A tensor of two rows in two chunks, on a rank or on two, at save or at load; nothing of anything else."""
    for name in ("saved", "loaded") if isinstance(value, TensorEntry) else ():
        if getattr(value, name) is not None:
            yield from ({"shape": (2,), name: layout} for layout in _LAYOUTS if len(layout.parts((2,), 0)) != 1)
            yield {"shape": (2,), name: MeshSharding((2,), (Shard(0),))}


def plainer_parts(value: Any) -> Iterator[_Parts]:
    """What several fields of the value must have at once to be plainer: what is cut, and how it is."""
    if isinstance(value, MeshSharding):
        yield from _with_fewer_mesh_dims(value)
    elif isinstance(value, Tiled):
        for dim, place in _planes(value.shape):
            yield {"shape": _shorter(value.shape, dim), "boxes": _without_plane(value.boxes, dim, place)}
    elif isinstance(value, TensorEntry):
        yield from _of_one_element_in_each_tile(value)
        yield from _with_fewer_elements(value)


def _with_fewer_mesh_dims(value: MeshSharding) -> Iterator[_Parts]:
    """The mesh without one of its dims, and with fewer ranks along one."""
    for dim in range(len(value.mesh)):
        mesh, placements = ((*each[:dim], *each[dim + 1 :]) for each in (value.mesh, value.placements))
        yield {"mesh": mesh, "placements": placements, "ranks": ()}
    for dim, extent in enumerate(value.mesh):
        for less in {1, extent - 1}:
            yield {"mesh": (*value.mesh[:dim], less, *value.mesh[dim + 1 :]), "ranks": ()}


def _of_one_element_in_each_tile(entry: TensorEntry) -> Iterator[_Parts]:
    """A tensor in two tiles, or in one, held by what holds those of the entry."""
    for name, other in (("saved", "loaded"), ("loaded", "saved")):
        layout = getattr(entry, name)
        if not isinstance(layout, EnumerableSharding):
            continue
        plain = {} if getattr(entry, other) is None else {other: Plain()}
        for ranks in ((0,), (0, 0), (0, 1)):
            tiles = tuple(Tile(rank, (place,), (1,)) for place, rank in enumerate(ranks))
            for order in (tiles, tiles[::-1]):
                yield {"shape": (len(ranks),), name: replace(layout, tiles=order), **plain}


def _with_fewer_elements(entry: TensorEntry) -> Iterator[_Parts]:
    """The tensor without one of its rows, or columns, which its tiles are without as well."""
    tiled = [name for name in ("saved", "loaded") if isinstance(getattr(entry, name), EnumerableSharding)]
    for dim, place in _planes(entry.shape) if tiled else ():
        layouts = {name: getattr(entry, name) for name in tiled}
        left = {name: _without_plane(layout.tiles, dim, place) for name, layout in layouts.items()}
        if all(left.values()):
            cut = {name: replace(layout, tiles=left[name]) for name, layout in layouts.items()}
            yield {"shape": _shorter(entry.shape, dim), **cut}


def _planes(shape: Sequence[int]) -> list[tuple[int, int]]:
    return [(dim, place) for dim, extent in enumerate(shape) for place in range(extent)]


def _shorter(shape: Sequence[int], dim: int) -> tuple[int, ...]:
    return (*shape[:dim], shape[dim] - 1, *shape[dim + 1 :])


def _without_plane(parts: Sequence[_Part], dim: int, place: int) -> tuple[_Part, ...]:
    """The parts without what has that place along that dim; those of which nothing is left are left out."""
    found = []
    for part in parts:
        offsets, sizes = list(part.offsets), list(part.sizes)
        if offsets[dim] > place:
            offsets[dim] -= 1
        elif place < offsets[dim] + sizes[dim]:
            sizes[dim] -= 1
        if sizes[dim] or sizes == list(part.sizes):
            found.append(replace(part, offsets=tuple(offsets), sizes=tuple(sizes)))
    return tuple(found)
