"""Strategies for worlds and tensors: how many ranks, which shapes, dtypes and shardings."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.dtypes import DTYPES
from worlds.scenario import ChunkSharding

from ._bounds import check_bounds

__all__ = ["bounded_shape", "chunk_sharding_specs", "dtypes", "ranks", "tensor_shapes", "world_sizes"]


def world_sizes(*, min_size: int = 1, max_size: int = 8) -> SearchStrategy[int]:
    """World sizes from ``min_size`` to ``max_size``, up to four ranks more often than not.

    Shrinks towards ``min_size``. Small sizes are cheap and enough for most bugs, but not for all: CI with 2, 4 and 8
    devices never saw what 7 ranks showed (pytorch/pytorch#153283), so every size is drawn.
    """
    check_bounds("size", min_size, max_size, at_least=1)
    few = st.integers(min_size, max(min_size, min(4, max_size)))
    return few | few | st.integers(min_size, max_size)


def ranks(*, world_size: int) -> SearchStrategy[int]:
    """Ranks of a world of that size; shrinks towards 0."""
    check_bounds("rank", 0, world_size - 1)
    # Hypothesis draws nothing where there is one value. Then a world could not shrink to one rank, since all that is
    # drawn behind it would shift.
    return st.sampled_from(range(world_size) if world_size > 1 else (0, 0))


def tensor_shapes(
    *, min_dims: int = 0, max_dims: int = 3, max_extent: int = 10, max_elements: int = 128
) -> SearchStrategy[tuple[int, ...]]:
    """Shapes of ``min_dims`` to ``max_dims`` dims, each of 0 to ``max_extent``, with ``max_elements`` elements at most.

    Shrinks towards few dims and small extents, ``()`` first of all. What breaks checkpoints is small: 0-d and empty
    tensors, one element, fewer rows than ranks, one row more or less than a multiple of the ranks.
    """
    check_bounds("dims", min_dims, max_dims)
    if max_extent < 1 or max_elements < 1:
        raise InvalidArgument(f"max_extent={max_extent} and max_elements={max_elements} must be at least 1")
    # Empty extents are a corner and not the rule: a tenth of three independent draws each would be too many.
    extents = st.integers(1, max_extent) | st.integers(1, max_extent) | st.integers(0, max_extent)
    dims = st.lists(extents, min_size=min_dims, max_size=max_dims)
    return dims.map(lambda extents: bounded_shape(extents, max_elements))


def bounded_shape(extents: Sequence[int], max_elements: int) -> tuple[int, ...]:
    """The extents, later ones cut where the product would be too large: a map, since a filter would draw again."""
    bounded: list[int] = []
    room = max_elements
    for extent in extents:
        bounded.append(min(extent, room))
        room //= max(1, bounded[-1])
    return tuple(bounded)


def dtypes() -> SearchStrategy[str]:
    """The names of all dtypes that torch can save on the CPU; shrinks towards ``"float32"``.

    Bool, complex, bf16, fp8, unsigned and bit dtypes too: whatever goes by another path than float32 does.
    """
    return st.sampled_from(tuple(DTYPES))


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


@st.composite
def _placements(draw: DrawFn, world_size: int, most: int) -> tuple[int, ...]:
    # The list is drawn even where it is not used: Hypothesis takes what has the fewest draws for the simplest.
    anywhere = draw(st.lists(ranks(world_size=world_size), min_size=1, max_size=most), label="placements")
    kinds = ("anywhere", "each rank once", "each rank once, in any order") if world_size <= most else ("anywhere",)
    kind = draw(st.sampled_from(kinds), label="kind of placements")
    if kind == "anywhere":
        return tuple(anywhere)
    if kind == "each rank once":
        return tuple(range(world_size))
    return tuple(draw(st.permutations(range(world_size)), label="order"))
