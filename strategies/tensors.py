"""Strategies for worlds and tensors: how many ranks, which shapes and dtypes."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.strategies import SearchStrategy

from worlds.dtypes import DTYPES

from ._bounds import check_bounds, within_limit
from ._reused import reused

__all__ = ["bounded_shape", "dtypes", "ranks", "tensor_shapes", "world_sizes"]


def world_sizes(*, min_size: int = 1, max_size: int = 8) -> SearchStrategy[int]:
    """World sizes from ``min_size`` to ``max_size``, up to four ranks more often than not.

    Shrinks towards ``min_size``. Small sizes are cheap and enough for most bugs, but not for all: CI with 2, 4 and 8
    devices never saw what 7 ranks showed (pytorch/pytorch#153283), so every size is drawn.
    """
    check_bounds("size", min_size, max_size, at_least=1)
    return _world_sizes(min_size, max(min_size, within_limit(max_size)))


@reused
def _world_sizes(min_size: int, max_size: int) -> SearchStrategy[int]:
    few = st.integers(min_size, max(min_size, min(4, max_size)))
    return few | few | st.integers(min_size, max_size)


@reused
def ranks(*, world_size: int) -> SearchStrategy[int]:
    """Ranks of a world of that size; shrinks towards 0."""
    check_bounds("rank", 0, world_size - 1)
    # Hypothesis draws nothing where there is one value. Then a world could not shrink to one rank, since all that is
    # drawn behind it would shift.
    return st.sampled_from(range(world_size) if world_size > 1 else (0, 0))


@reused
def tensor_shapes(
    *, min_dims: int = 0, max_dims: int = 4, max_extent: int = 10, max_elements: int = 128
) -> SearchStrategy[tuple[int, ...]]:
    """Shapes of ``min_dims`` to ``max_dims`` dims, each of 0 to ``max_extent``, with ``max_elements`` elements at most.

    Shrinks towards few dims and small extents, ``()`` first of all. What breaks checkpoints is small: 0-d and empty
    tensors, one element, fewer rows than ranks, one row more or less than a multiple of the ranks.
    """
    check_bounds("dims", min_dims, max_dims)
    if max_extent < 1 or max_elements < 1:
        raise InvalidArgument(f"max_extent={max_extent} and max_elements={max_elements} must be at least 1")
    # Empty extents are a corner and not the rule: a tenth of three independent draws each would be too many.
    extents = st.integers(1, max_extent) | st.integers(0, max_extent)
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


@reused
def dtypes() -> SearchStrategy[str]:
    """The names of all dtypes that torch can save on the CPU; shrinks towards ``"float32"``.

    Bool, complex, bf16, fp8, unsigned and bit dtypes too: whatever goes by another path than float32 does.
    """
    return st.sampled_from(tuple(DTYPES))
