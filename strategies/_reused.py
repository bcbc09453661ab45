"""Strategies that are made once: what Hypothesis finds out about a strategy, it keeps with the strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

__all__ = ["orders", "reused", "sampled_from"]

P = ParamSpec("P")
T = TypeVar("T")


def reused(make: Callable[P, SearchStrategy[T]]) -> Callable[P, SearchStrategy[T]]:
    """``make``, which gives the same strategy again where it is asked for with equal arguments.

    What is drawn is the same as from a new one. For functions that a ``draw`` calls in each example: to make a strategy
    and to find out whether it is empty costs more than to draw from it. Not for what depends on more than arguments.
    """
    kept = lru_cache(maxsize=2048, typed=True)(make)

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> SearchStrategy[T]:
        return kept(*args, **kwargs) if _is_hashable(args, kwargs) else make(*args, **kwargs)  # type: ignore[arg-type]

    return made


def _is_hashable(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        hash((args, *kwargs.values()))
    except TypeError:
        return False
    return True


def sampled_from(elements: Iterable[T]) -> SearchStrategy[T]:
    """Hypothesis's own, the same again for equal elements of the same types.

    For what a ``draw`` asks for in each example, of a few elements that are quickly compared. Not where equal ones can
    differ inside, as ``(0,)`` and ``(False,)`` do, nor for ``favouring``, which would then speak of all that are equal.
    """
    return _sampled_from(*elements)


@reused
def _sampled_from(*elements: T) -> SearchStrategy[T]:
    return st.sampled_from(elements)


@reused
def orders(count: int) -> SearchStrategy[list[int]]:
    """0 to ``count - 1`` in any order; shrinks towards the natural one."""
    return st.permutations(range(count))
