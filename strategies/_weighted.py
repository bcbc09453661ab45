"""Some alternatives more often than others."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["weighted"]

T = TypeVar("T")


def weighted(*alternatives: tuple[int, SearchStrategy[T]]) -> SearchStrategy[T]:
    """One of the alternatives, each with its weight; shrinks towards the first.

    ``one | one | other`` would be no more often the first: Hypothesis leaves out what is there twice.
    """
    return _weighted(alternatives)


@st.composite
def _weighted(draw: DrawFn, alternatives: tuple[tuple[int, SearchStrategy[T]], ...]) -> T:
    indices = [index for index, (weight, _) in enumerate(alternatives) for _ in range(weight)]
    return draw(alternatives[draw(st.sampled_from(indices), label="alternative")][1])
