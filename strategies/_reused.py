"""Strategies that are made once: what Hypothesis finds out about a strategy, it keeps with the strategy."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

from hypothesis.strategies import SearchStrategy

__all__ = ["reused"]

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
