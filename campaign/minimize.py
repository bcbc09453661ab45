"""A case made smaller, part by part, as long as it shows the same: what Hypothesis has drawn, and what it has not.

Hypothesis shrinks what was drawn, and ends where no one change to that is simpler. What is left is often no smaller
than it is for that alone: two ranks, where one with two chunks would do, that can only be drawn as another layout; an
entry more, that can only go if another one has a row more. Here it is the case itself that is changed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from worlds import plans

from .fewer_ranks import by_fewer_ranks, renumbered
from .otherwise import otherwise
from .size import size_of
from .smaller import smaller

__all__ = ["SHARE_OF_DRAWN", "Minimized", "can_be_minimized", "minimized"]

_ONLY_AS_DRAWN = (
    plans.ChunkedShape,
    plans.Comparison,
    plans.Conflict,
    plans.Load,
    plans.Merge,
    plans.MeshLayout,
    plans.NestedState,
    plans.Plans,
    plans.Reads,
    plans.Split,
)
"""Inputs of planning functions that nothing keeps from being what is not legal, as a scenario refuses to be: what is
made of a legal one may be called wrong for that alone."""

SHARE_OF_DRAWN = 0.5
"""Of the time to make small what is found, so much is Hypothesis's at most, which shrinks what was drawn."""


@dataclass(frozen=True)
class Minimized:
    """The smallest case that was found, and whether there was time to try all that there is to try."""

    case: Any
    whole: bool


def can_be_minimized(case: Any) -> bool:
    """Whether what is smaller is a case of its law too; most inputs of planning functions stay as they are drawn."""
    return not isinstance(case, _ONLY_AS_DRAWN)


def minimized(
    case: Any,
    shows: Callable[[Any], bool],
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Minimized:
    """The smallest case that was found within that time to be one for which ``shows`` holds, as for ``case``.

    Smaller is what has fewer ranks, then fewer entries, then fewer faults, then what prints shorter. Each step tries
    what is left out of one part, or one value made plainer; and where none of these shows it, less of the first three
    with one value in it otherwise. Most inputs of planning functions are left as they are.
    """
    if not can_be_minimized(case):
        return Minimized(case, whole=True)
    end = clock() + seconds
    tried = {repr(case)}
    again = True
    while again:
        again = False
        order = _order(case)
        for candidate in itertools.chain(_steps(case), _steps_aside(case)):
            text = repr(candidate)
            if text in tried or _order(candidate) >= order:
                continue
            if clock() > end:
                return Minimized(case, whole=False)
            tried.add(text)
            if shows(candidate):
                case, again = candidate, True
                break
    return Minimized(case, whole=True)


def _counted(case: Any) -> tuple[int, int, int]:
    size = size_of(case)
    return size.ranks, size.entries, size.faults


def _order(case: Any) -> tuple[tuple[int, int, int], int, str]:
    text = repr(case)
    return _counted(case), len(text), text


def _steps(case: Any) -> Iterator[Any]:
    yield from by_fewer_ranks(case)
    yield from smaller(case)
    yield from renumbered(case)


def _steps_aside(case: Any) -> Iterator[Any]:
    """What has less of what is counted, and one value otherwise, be it larger."""
    counted = _counted(case)
    for less in _steps(case):
        if _counted(less) < counted:
            yield from otherwise(less)
