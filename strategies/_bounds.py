"""Arguments of strategies, checked when the strategy is made."""

from __future__ import annotations

from hypothesis.errors import InvalidArgument

__all__ = ["check_bounds", "check_rank"]


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
