"""Lists that shrink to the elements that matter, whichever they are."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ._reused import reused

__all__ = ["several"]

T = TypeVar("T")


@reused
def several(
    elements: SearchStrategy[T], *, min_size: int, max_size: int, unique_by: Callable[[T], Hashable]
) -> SearchStrategy[list[T]]:
    """Lists of ``min_size`` to ``max_size`` elements, no two of which ``unique_by`` says the same of.

    As ``st.lists``, but how many is drawn before them, as an integer: then Hypothesis tries to lower it and to leave
    out any one of them. Where it is asked before each element whether there is another, it only leaves out the last.
    """
    return _several(elements, min_size, max_size, unique_by)


@st.composite
def _several(
    draw: DrawFn, elements: SearchStrategy[T], min_size: int, max_size: int, unique_by: Callable[[T], Hashable]
) -> list[T]:
    found: dict[Hashable, T] = {}
    for _ in range(draw(st.integers(min_size, max_size), label="how many")):
        element = draw(elements)
        found.setdefault(unique_by(element), element)
    assume(len(found) >= min_size)
    return list(found.values())
