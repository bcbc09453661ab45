"""One task at a time, in an order that is data: the baton that the threads of a simulated world hand on.

A task is a rank, or a thread that a rank started. It runs until it waits for something; then the first task, in the
order of the schedule, that has nothing to wait for any more goes on. When there is none, and nobody waits with a time
limit, no task can ever go on: that is a deadlock, found at once and without a clock. Knows nothing of torch.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from ..abandoned import Abandoned
from ..frames import current_frames
from ..outcome import Waiting

__all__ = ["Scheduler", "Task", "current_task"]


class _Local(threading.local):
    task: Task | None = None


_local = _Local()


def current_task() -> Task | None:
    """The task that the calling thread is, or ``None`` outside every simulated world."""
    return _local.task


class Task:
    """A rank, or a thread of a rank. ``context`` is what the world keeps for the rank.

    Whoever holds the baton releases ``baton`` to hand it to this task; it is locked at first.
    """

    def __init__(self, scheduler: Scheduler, name: str, rank: int, context: Any, priority: tuple[int, ...]) -> None:
        self.scheduler = scheduler
        self.name = name
        self.rank = rank
        self.context = context
        self.priority = priority
        self.children = 0
        self.done = False
        self.abandoned = False
        self.waiting: Waiting | None = None
        self.thread = 0
        self._ready: Callable[[], bool] | None = None
        self._has_limit = False
        self._limit_struck = False
        self.baton = _thread.allocate_lock()  # not threading's name for it, which a world replaces
        self.baton.acquire()

    def run(self, body: Callable[[], None]) -> None:
        """Run ``body`` in the calling thread, which has been handed the baton, and hand the baton on for good."""
        _local.task = self
        self.thread = _thread.get_ident()
        try:
            if not self.abandoned:
                body()
        except Abandoned:
            pass
        finally:
            _local.task = None
            self.scheduler._finish(self)

    def _can_go_on(self) -> bool:
        return self.abandoned or self._ready is None or self._ready()


class Scheduler:
    """Runs tasks one at a time; see the module.

    ``order`` lists ranks, the first to go first; ``threads_first`` puts a rank's threads before the rank itself.
    """

    def __init__(self, order: Sequence[int] = (), *, threads_first: bool = False) -> None:
        self.threads_first = threads_first
        self.trace: list[tuple[str, Waiting]] = []
        """Who went on after having waited, and for what: the schedule as it was."""
        self.stuck: dict[Task, Waiting] = {}
        """The tasks that waited for ever."""
        self.frames: dict[Task, tuple[tuple[str, str], ...]] = {}
        """Where each of them stood: files and functions, the innermost last."""
        self._places = {rank: place for place, rank in enumerate(order)}
        self._tasks: list[Task] = []
        self._finished = _thread.allocate_lock()
        self._finished.acquire()

    def add_rank(self, rank: int, context: Any) -> Task:
        """A task for a rank, which a thread then enters by :meth:`Task.run`."""
        place = self._places.get(rank, len(self._places))
        return self._add(Task(self, f"rank {rank}", rank, context, (place, rank)))

    def add_thread(self, parent: Task) -> Task:
        """A task for a thread that ``parent`` starts; it belongs to the same rank."""
        parent.children += 1
        side = -1 if self.threads_first else 1
        name = f"{parent.name} thread {parent.children}"
        return self._add(Task(self, name, parent.rank, parent.context, (*parent.priority, side, parent.children)))

    def run(self) -> None:
        """Hand the baton to the first task, and wait until every task has ended."""
        if self._tasks:
            self._next().baton.release()
            self._finished.acquire()

    def wait_until(self, ready: Callable[[], bool], waiting: Waiting, *, has_limit: bool = False) -> bool:
        """Let others run until ``ready()``; called by the task that holds the baton.

        Returns whether ``ready()`` holds: with ``has_limit`` the time is up, and false comes back, when nothing else
        can happen. Raises :class:`Abandoned` where the task would wait for ever.
        """
        task = _local.task
        assert task is not None
        if task.abandoned:
            raise Abandoned
        if ready():
            return True
        task.waiting, task._ready, task._has_limit = waiting, ready, has_limit
        self._switch_from(task)
        task.waiting, task._ready, task._has_limit = None, None, False
        if task.abandoned:
            raise Abandoned
        self.trace.append((task.name, waiting))
        struck, task._limit_struck = task._limit_struck, False
        return not struck

    def give_way(self) -> None:
        """Let a task that comes first in the order run, if one can; called by the task that holds the baton."""
        task = _local.task
        assert task is not None
        if not task.abandoned:
            self._switch_from(task)

    def _add(self, task: Task) -> Task:
        self._tasks.append(task)
        self._tasks.sort(key=_priority)
        return task

    def _switch_from(self, task: Task) -> None:
        following = self._next()
        if following is not task:
            following.baton.release()
            task.baton.acquire()

    def _finish(self, task: Task) -> None:
        task.done = True
        self._tasks.remove(task)
        if self._tasks:
            self._next().baton.release()
        else:
            self._finished.release()

    def _next(self) -> Task:
        for task in self._tasks:
            if task._can_go_on():
                return task
        for task in self._tasks:
            if task._has_limit:
                task._limit_struck = True
                return task
        all_frames = current_frames()
        for task in self._tasks:
            assert task.waiting is not None
            self.stuck[task] = task.waiting
            self.frames[task] = _stack(all_frames.get(task.thread))
            task.abandoned = True
        return self._tasks[0]


def _stack(frame: FrameType | None) -> tuple[tuple[str, str], ...]:
    outwards = []
    while frame is not None:
        outwards.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    return tuple(reversed(outwards))


def _priority(task: Task) -> tuple[int, ...]:
    return (*task.priority, 0)  # so that a thread, whose priority goes on from here, can come on either side
