"""Threads that a rank starts: they run when the schedule says, and belong to the rank that started them.

While a world runs, starting and joining a thread and waiting for a lock hand on the baton (:mod:`.scheduler`) instead
of blocking a thread that holds it. Everything that the standard library builds on them (conditions, events, semaphores,
queues, executors, futures) follows. Outside the tasks of a world the replacements behave as the originals.
"""

from __future__ import annotations

import _thread
import concurrent.futures.thread
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from ..outcome import Waiting
from ..patches import Patch
from .scheduler import Task, _local, current_task

__all__ = ["SimulatedLock", "thread_patches"]

_start = threading.Thread.start
_join = threading.Thread.join
_is_alive = threading.Thread.is_alive
_make_executor = ThreadPoolExecutor.__init__


class SimulatedLock:
    """A lock that lets other tasks run while it is waited for."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As ``threading.Lock.acquire``; a time limit strikes when nothing else can happen."""
        if self._lock.acquire(False):
            return True
        if not blocking or timeout == 0:
            return False
        task = current_task()
        if task is None:
            return self._lock.acquire(True, timeout)
        while not self._lock.acquire(False):
            if not task.scheduler.wait_until(self._is_free, Waiting("a lock"), has_limit=timeout >= 0):
                return False
        return True

    def release(self) -> None:
        """As ``threading.Lock.release``."""
        self._lock.release()

    def locked(self) -> bool:
        """As ``threading.Lock.locked``."""
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _is_free(self) -> bool:
        return not self._lock.locked()

    def _at_fork_reinit(self) -> None:
        self._lock = _thread.allocate_lock()


def thread_patches(enter: Callable[[Task], None]) -> list[Patch]:
    """What a running world replaces; ``enter`` is called in each thread that a rank starts, before its own work."""

    def start(thread: threading.Thread) -> None:
        task = current_task()
        if task is None:
            _start(thread)
            return
        _start_as_task(thread, task, enter)

    return [
        Patch(threading.Thread, "start", start),
        Patch(threading.Thread, "join", _join_as_task),
        Patch(threading.Thread, "is_alive", _is_alive_as_task),
        Patch(threading, "Lock", SimulatedLock),
        Patch(threading, "_allocate_lock", SimulatedLock),
        Patch(threading, "RLock", vars(threading)["_PyRLock"]),
        Patch(queue, "SimpleQueue", vars(queue)["_PySimpleQueue"]),
        Patch(ThreadPoolExecutor, "__init__", _make_ordered_executor),
        # Held by submit() while it starts a thread, which may run at once and then wait.
        Patch(concurrent.futures.thread, "_global_shutdown_lock", SimulatedLock()),
    ]


class _ThreadsInOrder(dict[threading.Thread, None]):
    """The threads of an executor, which it keeps in a set and joins in that set's order: that of their addresses."""

    def add(self, thread: threading.Thread) -> None:
        self[thread] = None


def _make_ordered_executor(executor: ThreadPoolExecutor, *args: Any, **options: Any) -> None:
    _make_executor(executor, *args, **options)
    if current_task() is not None:
        vars(executor)["_threads"] = _ThreadsInOrder()


def _start_as_task(thread: threading.Thread, parent: Task, enter: Callable[[Task], None]) -> None:
    run = thread.run
    child = parent.scheduler.add_thread(parent)
    thread.__dict__["_dcp_stress_task"] = child

    def body() -> None:
        enter(child)
        run()

    def run_as_task() -> None:
        del thread.__dict__["run"]
        child.baton.acquire()
        child.run(body)

    thread.__dict__["run"] = run_as_task
    with _outside():  # the new thread reports that it exists before it asks for the baton
        _start(thread)
    if parent.scheduler.threads_first:
        parent.scheduler.give_way()


def _join_as_task(thread: threading.Thread, timeout: float | None = None) -> None:
    task, child = current_task(), _task_of(thread)
    if task is None or child is None or child is task:
        _join(thread, timeout)
        return
    waiting = Waiting(f"the end of {child.name}")
    if task.scheduler.wait_until(lambda: child.done, waiting, has_limit=timeout is not None):
        with _outside():
            _join(thread)


def _is_alive_as_task(thread: threading.Thread) -> bool:
    child = _task_of(thread)
    if current_task() is None or child is None:
        return _is_alive(thread)
    return not child.done


def _task_of(thread: threading.Thread) -> Task | None:
    task: Any = thread.__dict__.get("_dcp_stress_task")
    return task if isinstance(task, Task) else None


@contextmanager
def _outside() -> Iterator[None]:
    """For the calling thread, locks are real: what it waits for comes from a thread that needs no baton for it."""
    task, _local.task = _local.task, None
    try:
        yield
    finally:
        _local.task = task
