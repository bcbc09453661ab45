"""Some alternatives more often than others."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ._reused import reused

__all__ = ["weighted"]

T = TypeVar("T")


@reused
def weighted(*alternatives: tuple[int, SearchStrategy[T]]) -> SearchStrategy[T]:
    """One of the alternatives, each with its weight; shrinks towards the first.

    ``one | one | other`` would be no more often the first: Hypothesis leaves out what is there twice.
    """
    indices = [index for index, (weight, _) in enumerate(alternatives) for _ in range(weight)]
    return _at_index(st.sampled_from(indices), tuple(strategy for _, strategy in alternatives))


@st.composite
def _at_index(draw: DrawFn, indices: SearchStrategy[int], alternatives: tuple[SearchStrategy[T], ...]) -> T:
    return draw(alternatives[draw(indices, label="alternative")])
