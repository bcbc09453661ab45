"""Strategies for how ranks hold a tensor: sharding specs, tilings, device meshes, plain replicas, and their memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.accelerator import is_held_by_accelerator
from worlds.checkpointable import HAS_CHECKPOINTABLE_TENSOR
from worlds.layouts import (
    ChunkSharding,
    EnumerableSharding,
    Layout,
    Memory,
    MeshSharding,
    Placement,
    Plain,
    Replicate,
    Shard,
    StridedShard,
    Tile,
)

from ._corners import favouring
from ._reused import orders, reused, sampled_from
from ._weighted import weighted
from .tensors import ranks

__all__ = [
    "chunk_sharding_specs",
    "enumerable_sharding_specs",
    "layouts",
    "memories",
    "mesh_shardings",
    "on_accelerator",
    "on_meta",
    "replicas",
]


@reused
def chunk_sharding_specs(*, dims: int, world_size: int, max_chunks: int | None = None) -> SearchStrategy[ChunkSharding]:
    """Chunk shardings of a tensor with that many dims: any dim, negative ones too, and any placements.

    Placements come in any order, leave ranks out, and put several chunks on one rank; often enough each rank has one
    chunk. ``max_chunks`` is ``world_size + 2`` by default, so that chunks are more than rows as well. Shrinks towards
    one chunk, on rank 0, of dim 0. The sizes that ``ChunkShardingSpec`` gets wrong are those where ``ceil(rows / n) *
    n`` overshoots the rows (1 over 3, 5 over 4, 9 over 8, 10 over 7).
    """
    if dims < 1:
        raise InvalidArgument(f"dims={dims}: a tensor without dims cannot be sharded")
    most = world_size + 2 if max_chunks is None else max_chunks
    if world_size < 1 or most < 1:
        raise InvalidArgument(f"world_size={world_size} and max_chunks={most} must be at least 1")
    dim = st.sampled_from([*range(dims), *range(-1, -dims - 1, -1)])
    return st.builds(ChunkSharding, dim, _placements(world_size, most))


# The fourth, "anywhere", can be whatever the others are.
_KINDS = favouring(st.sampled_from((*["in turn"] * 3, *["anywhere"] * 2, *["in turn, in any order"] * 3)), whole=3)
_AS_MANY_AS_RANKS = 16
"""Where they are placed in turn, all but one in so many are as many chunks as there are ranks."""


@reused
@st.composite
def _placements(draw: DrawFn, world_size: int, most: int) -> tuple[int, ...]:
    # How many there are means the same for any world: two chunks on two ranks become two on one, and not one.
    place = draw(st.integers(0, _AS_MANY_AS_RANKS * most - 1), label="how many chunks")
    kind = draw(_KINDS, label="kind of placements")
    if kind == "anywhere":
        some = st.tuples(*[ranks(world_size=world_size)] * (place % most + 1))
        return draw(some, label="placements")
    count = place + 1 if place < most else min(world_size, most)
    order = range(world_size) if kind == "in turn" else draw(orders(world_size), label="order")
    return tuple(order[chunk % world_size] for chunk in range(count))


_Holder = tuple[Literal["ShardedTensor", "Checkpointable", "CheckpointableTensor"], bool]
_SHARDED: _Holder = ("ShardedTensor", False)
_BLOCKS: _Holder = ("Checkpointable", False)
_LOCAL: _Holder = ("CheckpointableTensor", False) if HAS_CHECKPOINTABLE_TENSOR else _BLOCKS
_PADDED: _Holder = ("CheckpointableTensor", True) if HAS_CHECKPOINTABLE_TENSOR else _BLOCKS
_WITHOUT_DIMS: tuple[_Holder, ...] = (_BLOCKS, _BLOCKS, _LOCAL, _LOCAL)
_WITH_DIMS: tuple[_Holder, ...] = (_SHARDED, _SHARDED, _SHARDED, _SHARDED, _BLOCKS, _BLOCKS, _LOCAL, _PADDED)


@reused
@st.composite
def enumerable_sharding_specs(
    draw: DrawFn, *, shape: Sequence[int], world_size: int, max_cuts: int = 4
) -> EnumerableSharding:
    """Tilings of a tensor of that shape, by up to ``max_cuts`` cuts through a tile each, with any tile on any rank.

    No rows and columns: tiles of unequal sizes, several on a rank or none, in any order, and, where no
    ``ShardedTensor`` holds them, empty ones too. From torch 2.15 on, its ``CheckpointableTensor`` holds them as well,
    with padding or without. Shrinks towards one tile on rank 0, held by a ``ShardedTensor``.
    """
    if world_size < 1 or max_cuts < 0:
        raise InvalidArgument(f"world_size={world_size} must be at least 1, and max_cuts={max_cuts} at least 0")
    cuts = draw(_cuts(max_cuts if shape else 0), label="cuts")
    tiles = [((0,) * len(shape), tuple(shape))]
    for which, dim, place in cuts:
        tile = tiles.pop(which % len(tiles))
        tiles += _cut(tile, dim % len(shape), place)
    # As many with and without CheckpointableTensor, so that all torches draw the same but for that.
    holders = _WITH_DIMS if shape else _WITHOUT_DIMS
    holder, padded = draw(sampled_from(holders), label="holder of the tiles")
    if holder == "ShardedTensor":
        tiles = [tile for tile in tiles if math.prod(tile[1])] or [((0,) * len(shape), tuple(shape))]
    owners = draw(st.tuples(*[ranks(world_size=world_size)] * (max_cuts + 1)), label="ranks of the tiles")
    if draw(sampled_from((False, False, True)), label="several tiles on a rank"):
        owners = (owners[0], owners[0], *owners[2:])
    order = draw(orders(len(tiles)), label="order of the tiles")
    placed = [Tile(owners[index], *tiles[index]) for index in order]
    taken = {(tile.rank, tile.offsets) for tile in placed if tile.box}
    kept = {(tile.rank, tile.offsets): tile for tile in placed if tile.box or (tile.rank, tile.offsets) not in taken}
    return EnumerableSharding(tuple(kept.values()), holder, padded)


@reused
def _cuts(most: int) -> SearchStrategy[list[tuple[int, int, int]]]:
    """Which tile, which dim and where, each to be taken modulo what there is."""
    number = st.integers(0, 99)
    return st.lists(st.tuples(number, number, number), max_size=most)


_Block = tuple[tuple[int, ...], tuple[int, ...]]


def _cut(tile: _Block, dim: int, place: int) -> list[_Block]:
    """The tile in two, along ``dim``; now and then one of them is empty."""
    offsets, sizes = tile
    size = place % (sizes[dim] + 1)
    first = (offsets, (*sizes[:dim], size, *sizes[dim + 1 :]))
    second = (
        (*offsets[:dim], offsets[dim] + size, *offsets[dim + 1 :]),
        (*sizes[:dim], sizes[dim] - size, *sizes[dim + 1 :]),
    )
    return [first, second]


@reused
@st.composite
def mesh_shardings(draw: DrawFn, *, dims: int, world_size: int, max_mesh_dims: int = 3) -> MeshSharding:
    """Placements of a ``DTensor`` with that many dims on meshes of up to ``max_mesh_dims`` dims.

    Sharded along a dim by one mesh dim or by several, from left to right or, as FSDP2 with tensor parallelism does it,
    strided from right to left; replicated (HSDP) along others; on meshes that leave ranks out and have them in any
    order. Shrinks towards a mesh of one rank and a replica.
    """
    if world_size < 1 or max_mesh_dims < 1:
        raise InvalidArgument(f"world_size={world_size} and max_mesh_dims={max_mesh_dims} must be at least 1")
    mesh = draw(_meshes(world_size, max_mesh_dims), label="mesh")
    # As many as the largest mesh has, so that what is drawn behind them keeps its place. The last ones count, so that a
    # mesh that loses a dim in front keeps its placements.
    drawn = draw(_kinds_and_dims(dims, max_mesh_dims), label="placements")[-len(mesh) :]
    together = draw(sampled_from((False, False, True)), label="FSDP2 with tensor parallelism")
    if together and dims and len(mesh) > 1:
        drawn = (("strided", drawn[0][1]), ("shard", drawn[0][1]), *drawn[2:])
    order = draw(_orders(world_size), label="ranks of the mesh")
    return MeshSharding(mesh, _placed(mesh, drawn), order[: math.prod(mesh)])


@reused
def _meshes(world_size: int, max_dims: int) -> SearchStrategy[tuple[int, ...]]:
    """All meshes for as many ranks or fewer, those that take them all several times; few ranks, then few dims first.

    Those of a smaller world come first and in the same order, so that what is drawn keeps its meaning in shrinking.
    """
    every = (
        mesh for dims in range(1, max_dims + 1) for mesh in itertools.product(range(1, world_size + 1), repeat=dims)
    )
    found = sorted((mesh for mesh in every if math.prod(mesh) <= world_size), key=math.prod)
    found += [mesh for mesh in found if math.prod(mesh) == world_size]
    # Hypothesis draws nothing where there is one value.
    return st.sampled_from(found if len(found) > 1 else found * 2)


@reused
def _kinds_and_dims(dims: int, mesh_dims: int) -> SearchStrategy[tuple[tuple[str, int], ...]]:
    kinds = ("replicate", "shard", "shard", "strided") if dims else ("replicate", "replicate")
    along = st.tuples(st.sampled_from(kinds), st.integers(0, max(0, dims - 1)))
    return st.tuples(*[along] * mesh_dims)


@reused
def _orders(world_size: int) -> SearchStrategy[tuple[int, ...]]:
    return weighted((2, st.just(())), (1, orders(world_size).map(tuple)), whole=1)


def _placed(mesh: Sequence[int], drawn: Sequence[tuple[str, int]]) -> tuple[Placement, ...]:
    placements: list[Placement] = []
    factors: dict[int, int] = {}  # what the mesh dims behind this one cut each dim into, before it is cut here
    for extent, (kind, dim) in reversed(list(zip(mesh, drawn, strict=True))):
        if kind == "replicate":
            placements.append(Replicate())
            continue
        factor = factors.get(dim, 1)
        placements.append(StridedShard(dim, factor) if kind == "strided" and factor > 1 else Shard(dim))
        factors[dim] = factor * extent
    return tuple(reversed(placements))


@reused
def replicas(*, world_size: int, everywhere: bool = False) -> SearchStrategy[Plain]:
    """Plain tensors and objects: on every rank, more often than not, or on some; shrinks towards every rank."""
    if everywhere:
        return weighted((1, st.just(Plain())))
    some = st.frozensets(ranks(world_size=world_size), min_size=1).map(lambda drawn: Plain(tuple(sorted(drawn))))
    return weighted((3, st.just(Plain())), (1, some), whole=1)


@reused
def memories(*, dtype: str, sharded: bool = False, target: bool = False) -> SearchStrategy[Memory]:
    """How a local tensor of that dtype may lie in memory; shrinks towards ``"contiguous"``.

    A ``target`` to load into is not expanded: its elements could not differ. Nor is a ``sharded`` one, which needs
    equal elements on all ranks.
    """
    found: list[Memory] = ["contiguous", "contiguous", "contiguous", "transposed", "strided", "window"]
    if not target and not sharded:
        found.append("expanded")
    if dtype in ("complex64", "complex128"):
        found += ["conjugated", "conjugated"]
    if dtype in ("float32", "float64"):
        found.append("negated")
    if dtype in ("float32", "float64", "float16", "bfloat16", "complex64", "complex128"):
        found.append("gradient")
    return st.sampled_from(found)


@reused
@st.composite
def layouts(
    draw: DrawFn, *, shape: Sequence[int], dtype: str, world_size: int, target: bool = False, everywhere: bool = False
) -> Layout:
    """How the ranks of a world hold a tensor; 0 stands for no world, and leaves a plain tensor.

    Plain, or sharded by a chunk or an enumerable spec or a mesh. Shrinks towards a plain tensor. With ``everywhere``, a
    plain tensor is on every rank.
    """
    kinds = ("plain", "plain", "chunk", "mesh", "mesh", "enumerable") if world_size else ("plain", "plain")
    kind = draw(sampled_from(kinds), label="kind of layout")
    if kind == "chunk" and len(shape):
        return draw(chunk_sharding_specs(dims=len(shape), world_size=world_size))
    if kind == "enumerable":
        return draw(enumerable_sharding_specs(shape=shape, world_size=world_size))
    if kind == "mesh":
        mesh = draw(mesh_shardings(dims=len(shape), world_size=world_size))
        memory = draw(memories(dtype=dtype, sharded=True, target=target), label="memory")
        return MeshSharding(mesh.mesh, mesh.placements, mesh.ranks, memory)
    plain = draw(replicas(world_size=max(1, world_size), everywhere=everywhere), label="ranks that have it")
    return Plain(plain.ranks, draw(memories(dtype=dtype, target=target), label="memory"))


def on_meta(layout: Layout) -> Layout:
    """The layout of a target on the meta device; a tensor that says itself what it holds has nothing there."""
    return layout if layout.kind == "Checkpointable" else replace(layout, memory="meta")


# Drawn only where there is one, so that all else is the same everywhere.
_ON_ACCELERATOR = (*[()] * 3, ("save",), ("load",), ("save", "load"), ("save", "load"))


def on_accelerator(draw: DrawFn, dtype: str, saved: Layout, loaded: Layout) -> tuple[Layout, Layout]:
    """The layouts of a tensor of that dtype, half the time with one or both on the accelerator, where that can be.

    To be drawn last of what is drawn for a tensor. What is on the meta device stays there.
    """
    where = draw(sampled_from(_ON_ACCELERATOR), label="on an accelerator") if is_held_by_accelerator(dtype) else ()
    if "save" in where:
        saved = replace(saved, device="accelerator")
    if "load" in where and loaded.memory != "meta":
        loaded = replace(loaded, device="accelerator")
    return saved, loaded
