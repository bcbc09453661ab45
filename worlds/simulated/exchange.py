"""Where the ranks of a group meet: the n-th collective of a group is complete when those have come that it needs.

A collective that ranks call in different orders, with another kind or root, or that a rank never calls, completes for
nobody; so a wrong program waits for ever here, as it does (or worse) on a real backend.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from ..outcome import Waiting
from .scheduler import current_task

__all__ = ["Exchange", "Meeting"]


class Meeting:
    """One collective: what the ranks of the group (numbered within it) have brought so far."""

    def __init__(self, kind: str, size: int) -> None:
        self.kind = kind
        self.size = size
        self.brought: dict[int, Any] = {}
        self.result: Any = None
        self.error: Exception | None = None

    def is_full(self) -> bool:
        """Whether every rank of the group has come."""
        return len(self.brought) == self.size

    def in_order(self) -> list[Any]:
        """What the ranks have brought, by rank."""
        return [self.brought[rank] for rank in range(self.size)]


class Arrival:
    """A rank's part in a meeting; ``meeting`` is ``None`` where it came to the wrong one, and so waits for ever."""

    def __init__(self, meeting: Meeting | None, waiting: Waiting) -> None:
        self.meeting = meeting
        self.waiting = waiting

    def wait_for_all(self) -> Meeting:
        """The meeting, once every rank has come."""
        return self._wait(lambda meeting: meeting.is_full())

    def wait_for(self, rank: int) -> Meeting:
        """The meeting, once that rank has come."""
        return self._wait(lambda meeting: rank in meeting.brought)

    def _wait(self, ready: Callable[[Meeting], bool]) -> Meeting:
        task = current_task()
        assert task is not None
        meeting = self.meeting
        if meeting is None:
            task.scheduler.wait_until(_never, self.waiting)
        assert meeting is not None
        task.scheduler.wait_until(lambda: ready(meeting), self.waiting)
        if meeting.error is not None:
            raise RuntimeError(str(meeting.error)) from meeting.error
        return meeting


class Exchange:
    """All meetings of one run."""

    def __init__(self) -> None:
        self._meetings: dict[tuple[Hashable, int], Meeting] = {}
        self._counts: dict[tuple[Hashable, int], int] = {}

    def arrive(self, key: Hashable, ranks: tuple[int, ...], rank: int, kind: str, brought: Any) -> Arrival:
        """Bring something to the next collective of the group ``key``, as its rank ``rank``; does not wait.

        ``ranks`` are the group's global ranks, for whoever reads where a rank waits.
        """
        count = self._counts.get((key, rank), 0)
        self._counts[key, rank] = count + 1
        waiting = Waiting(kind, ranks, count)
        meeting = self._meetings.get((key, count))
        if meeting is None:
            meeting = self._meetings[key, count] = Meeting(kind, len(ranks))
        if meeting.kind != kind or meeting.size != len(ranks):
            return Arrival(None, waiting)
        meeting.brought[rank] = brought
        return Arrival(meeting, waiting)


def _never() -> bool:
    return False
