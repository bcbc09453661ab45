"""Arguments of strategies, checked when the strategy is made, and limits of what all of them draw."""

from __future__ import annotations

from hypothesis.errors import InvalidArgument

from worlds.planners import DEFAULT
from worlds.storages import FILE_SYSTEM, limits_of

__all__ = [
    "MOST_RANKS",
    "check_bounds",
    "check_rank",
    "limit_planners",
    "limit_storages",
    "limit_world_sizes",
    "planners_for_all",
    "within_limit",
    "within_storages",
]

MOST_RANKS = 12
"""No world that is drawn has more ranks; what is drawn for as many keeps its meaning when worlds shrink."""

_largest: int | None = None
_shared_only = False
_only: str | None = None
_planners = DEFAULT


def limit_world_sizes(largest: int | None) -> None:
    """From now on no strategy draws a world of more ranks: where worlds are as large as a job is, say."""
    global _largest
    if largest is not None:
        check_bounds("world_size", 1, largest)
    _largest = largest


def within_limit(most: int) -> int:
    """``most``, or the limit that was set, if that is less."""
    return most if _largest is None else min(most, _largest)


def limit_storages(*, shared: bool = False, only: str | None = None) -> None:
    """From now on, if ``shared``, draw no storage but those on which one process finds what another has saved.

    With ``only``, that is the storage of every scenario, those that are drawn in the file system too.
    """
    global _shared_only, _only
    _shared_only, _only = shared, only


def within_storages(name: str, *, shared: bool = False) -> str:
    """The storage of that name, or what the limits that were set, and ``shared``, have in its place."""
    if _only is not None:
        return _only
    return FILE_SYSTEM if (shared or _shared_only) and not limits_of(name).processes else name


def limit_planners(name: str | None = None) -> None:
    """From now on every scenario has these planners."""
    global _planners
    _planners = name or DEFAULT


def planners_for_all() -> str:
    """The planners that every scenario has."""
    return _planners


def check_bounds(name: str, low: int, high: int, *, at_least: int = 0) -> None:
    """Raise ``InvalidArgument`` unless ``at_least <= low <= high``."""
    if low < at_least:
        raise InvalidArgument(f"min_{name}={low} must be at least {at_least}")
    if high < low:
        raise InvalidArgument(f"max_{name}={high} is less than min_{name}={low}")


def check_rank(name: str, rank: int, world_size: int) -> None:
    """Raise ``InvalidArgument`` unless ``rank`` is a rank of a world of that size."""
    if world_size < 1:
        raise InvalidArgument(f"world_size={world_size} must be at least 1")
    if not 0 <= rank < world_size:
        raise InvalidArgument(f"{name}={rank} is no rank of a world of size {world_size}")
