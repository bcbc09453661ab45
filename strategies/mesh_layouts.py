"""Strategies for layouts of ``DTensor`` as inputs of planning functions: any mesh, and many ranks."""

from __future__ import annotations

import math

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from worlds.plans import Cut, MeshLayout

from .plans import LARGE_WORLD

__all__ = ["fully_sharded_layouts", "mesh_layouts"]

_mesh_sizes = st.integers(1, 4) | st.integers(1, 8)
_extents = st.integers(0, 8) | st.integers(0, 40)


@st.composite
def mesh_layouts(draw: DrawFn, *, max_ranks: int = LARGE_WORLD, looked_at: int | None = 4) -> MeshLayout:
    """``DTensor`` layouts: up to 3 dims on meshes of 1 to 3 dims and up to ``max_ranks`` ranks, with any placements.

    The same dim may be sharded more than once, by ``_StridedShard`` too, whose split factor is what FSDP on top of
    tensor parallelism gives it, or any. ``looked_at`` is how many ranks are looked at, at most; ``None`` for all.
    Shrinks towards a 0-d tensor on one rank.
    """
    shape = draw(st.lists(_extents, max_size=3), label="shape")
    mesh = draw(st.lists(_mesh_sizes, min_size=1, max_size=3), label="mesh")
    dims = draw(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 4)), min_size=3, max_size=3), label="placements")
    ranks = draw(st.lists(st.integers(0, max_ranks - 1), min_size=1, max_size=looked_at or 1), label="ranks")
    if draw(st.integers(0, 9), label="large") == 9:
        mesh[0] *= draw(st.integers(1, 256), label="large mesh")
    while math.prod(mesh) > max_ranks:
        mesh[mesh.index(max(mesh))] //= 2
    placements = [None if dim < 0 or not shape else Cut(dim % len(shape), split) for dim, split in dims[: len(mesh)]]
    world_size = math.prod(mesh)
    every = tuple(range(world_size))
    some = tuple(sorted({rank % world_size for rank in ranks}))
    return MeshLayout(
        tuple(shape),
        tuple(mesh),
        tuple(_as_fully_sharded(placements, mesh)),
        every if looked_at is None else some,
    )


@st.composite
def fully_sharded_layouts(draw: DrawFn) -> MeshLayout:
    """Layouts of FSDP on top of tensor parallelism on one dim, replicated too, on up to 1,024 ranks.

    As FSDP2 makes them: the ranks of tensor parallelism are the last mesh dim, and their number is the split factor of
    the one before. Shrinks towards a tensor without rows on one rank. Rows that do not divide evenly matter: each of
    the two cuts rounds up for itself.
    """
    rows = draw(st.integers(0, 12) | st.integers(0, 40) | st.integers(0, 3 * LARGE_WORLD), label="rows")
    few, some = st.integers(1, 6), st.integers(1, 32)
    data, tensor = draw(st.tuples(few, few) | st.tuples(some, some), label="mesh")
    ranks = draw(st.lists(st.integers(0, LARGE_WORLD - 1), min_size=1, max_size=6), label="ranks")
    replicated = draw(st.booleans(), label="replicated") and 2 * data * tensor <= LARGE_WORLD
    cuts = (Cut(0, tensor), Cut(0))
    mesh = (2, data, tensor) if replicated else (data, tensor)
    looked_at = tuple(sorted({rank % math.prod(mesh) for rank in ranks}))
    return MeshLayout((rows,), mesh, (None, *cuts) if replicated else cuts, looked_at)


def _as_fully_sharded(placements: list[Cut | None], mesh: list[int]) -> list[Cut | None]:
    """A split factor of 4 stands for that of FSDP on top of what shards the same dim in later mesh dims."""
    found = list(placements)
    for index, cut in enumerate(placements):
        if cut is not None and cut.split == 4:
            later = zip(placements[index + 1 :], mesh[index + 1 :], strict=False)
            found[index] = Cut(cut.dim, math.prod(size for other, size in later if other and other.dim == cut.dim))
    return found
