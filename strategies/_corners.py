"""Which alternatives are but corners of another one beside them."""

from __future__ import annotations

from typing import TypeVar
from weakref import WeakKeyDictionary

from hypothesis.strategies import SearchStrategy

__all__ = ["WHOLE", "favouring"]

T = TypeVar("T")

WHOLE: WeakKeyDictionary[SearchStrategy[object], int] = WeakKeyDictionary()
"""Of strategies with corners, the place of the alternative that the others are corners of."""


def favouring(alternatives: SearchStrategy[T], *, whole: int = 0) -> SearchStrategy[T]:
    """The same ``one_of`` or ``sampled_from``, of which it is said that one alternative can be whatever the others are.

    Nothing is drawn otherwise for that. It is for whoever wants to know what the corners are worth, and so has to leave
    them out: where that cannot be seen from the alternatives, as it can of ``integers(0, 4) | integers(0, 8)``.
    """
    WHOLE[alternatives] = whole
    return alternatives
