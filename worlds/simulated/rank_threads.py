"""The threads on which the ranks of a simulated world run: made once, and used by one example after the other."""

from __future__ import annotations

import _thread
import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["RankThreads"]


def _find_current_processor() -> Callable[[], int | None]:
    """The C library's function for the processor that a thread is on; where there is none, one that does not know."""
    if not hasattr(os, "sched_setaffinity"):
        return lambda: None
    try:
        function: Callable[[], int] = ctypes.CDLL(None).sched_getcpu
    except (OSError, AttributeError):
        return lambda: None
    return function


_current_processor = _find_current_processor()


class RankThreads:
    """Thread i runs rank i; there are as many as the largest world had ranks."""

    def __init__(self) -> None:
        self._threads: list[_RankThread] = []

    def assign(self, rank: int, job: Callable[[], None]) -> _thread.LockType:
        """Have the thread of that rank run ``job``, which must not raise, once the lock that is returned is released.

        So a rank that is given the baton for the first time is woken once, and not a second time to look for its job.
        """
        while rank >= len(self._threads):
            self._threads.append(_RankThread(len(self._threads)))
        return self._threads[rank].assign(job)

    def follow(self) -> None:
        """Keep the threads, one of which runs at a time, on the processor that the caller is on now.

        To wake a thread on another processor, which has gone to sleep and knows none of the memory, costs more than
        all else that a simulated collective does. The caller itself stays free, so that the system can move them all.
        """
        processor = _current_processor()
        if processor is None:
            return
        for thread in self._threads:
            thread.stay_on(processor)

    def close(self) -> None:
        """End the threads, and wait until they have ended."""
        while self._threads:
            self._threads.pop().close()


class _RankThread:
    def __init__(self, rank: int) -> None:
        self._job: Callable[[], None] | None = None
        self._baton = _thread.allocate_lock()
        self._baton.acquire()
        self._processor: int | None = None
        # A daemon, so that a world that nobody closed does not keep the process alive.
        self._thread = threading.Thread(target=self._work, name=f"simulated rank {rank}", daemon=True)
        self._thread.start()

    def assign(self, job: Callable[[], None]) -> _thread.LockType:
        self._job = job
        return self._baton

    def stay_on(self, processor: int) -> None:
        if processor == self._processor or self._thread.native_id is None:
            return
        with suppress(OSError):  # where the system does not let a process choose
            os.sched_setaffinity(self._thread.native_id, {processor})
        self._processor = processor

    def close(self) -> None:
        self._job = None
        self._baton.release()
        self._thread.join()

    def _work(self) -> None:
        while True:
            self._baton.acquire()
            job, self._job = self._job, None
            if job is None:
                return
            job()
            del job  # nothing of an example outlives it here
