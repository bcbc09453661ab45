"""Some alternatives more often than others."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ._corners import favouring
from ._reused import reused

__all__ = ["weighted"]

T = TypeVar("T")


@reused
def weighted(*alternatives: tuple[int, SearchStrategy[T]], whole: int | None = None) -> SearchStrategy[T]:
    """One of the alternatives, each with its weight; shrinks towards the first.

    ``one | one | other`` would be no more often the first: Hypothesis leaves out what is there twice.
    ``whole`` is the place of the one that can be whatever the others are, if there is one.
    """
    indices = [index for index, (weight, _) in enumerate(alternatives) for _ in range(weight)]
    drawn = st.sampled_from(indices)
    if whole is not None:
        drawn = favouring(drawn, whole=indices.index(whole))
    return _at_index(drawn, tuple(strategy for _, strategy in alternatives))


@st.composite
def _at_index(draw: DrawFn, indices: SearchStrategy[int], alternatives: tuple[SearchStrategy[T], ...]) -> T:
    return draw(alternatives[draw(indices, label="alternative")])
