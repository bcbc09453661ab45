"""Strategies for windows of saved tensors."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from worlds.operations import Operation
from worlds.windows import Window

from ._bounds import within_limit
from ._reused import sampled_from
from ._telling import tell
from .case_features import case_features
from .layouts import chunk_sharding_specs, enumerable_sharding_specs
from .tensors import dtypes, world_sizes

__all__ = ["windows"]


@st.composite
def windows(draw: DrawFn, *, max_world_size: int = 4, max_dims: int = 3) -> Window:
    """Tensors, saved whole or sharded, and a window of each that other ranks load, a shard on each of them.

    Shrinks towards the whole of one element. The window begins and ends anywhere, so that it lies across the chunks
    that were saved, and touches some of them with one row.
    """
    world_size = draw(world_sizes(max_size=max_world_size), label="ranks that save")
    readers = within_limit(max_world_size)
    # Which of the rows are read by nobody, but lie before the window, shrinks towards all but the last: so a rank that
    # reads goes, and what is read by the others stays where it is.
    reading = draw(sampled_from((*range(1, readers), *[readers] * 4 * readers)), label="ranks that load, at most")
    drawn = draw(st.lists(st.integers(1, 3), min_size=1, max_size=readers).map(tuple), label="rows of each rank")
    above, rows = sum(drawn[:-reading]), drawn[-reading:]
    width = draw(st.lists(st.integers(1, 4), max_size=max_dims - 1).map(tuple), label="width")
    sizes = (sum(rows), *width)
    around = st.tuples(*(st.tuples(st.integers(0, 3), st.integers(0, 3)) for _ in sizes))
    margins = draw(around, label="elements before and behind it, by dim")
    margins = ((margins[0][0] + above, margins[0][1]), *margins[1:])
    shape = tuple(before + size + behind for size, (before, behind) in zip(sizes, margins, strict=True))
    saved = draw(
        st.just(Window().saved)
        | chunk_sharding_specs(dims=len(shape), world_size=world_size)
        | enumerable_sharding_specs(shape=shape, world_size=world_size),
        label="saved",
    )
    dtype = draw(dtypes(), label="dtype")
    window = Window(shape, tuple(before for before, _ in margins), rows, width, dtype, saved, Operation(world_size))
    tell(case_features(window))
    return window
