"""Some of the job's ranks, as source."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["rank_condition", "rank_list"]


def rank_condition(rank: str, ranks: Sequence[int]) -> str:
    """The condition for the expression ``rank`` to be one of ``ranks``, which are in order."""
    if len(ranks) == 1:
        return f"{rank} == {ranks[0]}"
    return f"{rank} < {len(ranks)}" if _are_first(ranks) else f"{rank} in {tuple(ranks)}"


def rank_list(ranks: Sequence[int]) -> str:
    """An iterable of ``ranks``, which are in order."""
    return f"range({len(ranks)})" if _are_first(ranks) and len(ranks) > 1 else str(list(ranks))


def _are_first(ranks: Sequence[int]) -> bool:
    return list(ranks) == list(range(len(ranks)))
