"""What a process has one of, each simulated rank has one of."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from .scheduler import current_task

__all__ = ["OfEachRank"]


class OfEachRank(MutableMapping[Any, Any]):
    """A dict for each simulated rank, and one for whoever is none."""

    def __init__(self) -> None:
        self._dicts: dict[int | None, dict[Any, Any]] = {}

    def _mine(self) -> dict[Any, Any]:
        task = current_task()
        return self._dicts.setdefault(None if task is None else task.rank, {})

    def __getitem__(self, key: Any) -> Any:
        return self._mine()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._mine()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._mine()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mine())

    def __len__(self) -> int:
        return len(self._mine())
