"""The threads on which the ranks of a simulated world run: made once, and used by one example after the other."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable

__all__ = ["RankThreads"]


class RankThreads:
    """Thread i runs rank i; there are as many as the largest world had ranks."""

    def __init__(self) -> None:
        self._threads: list[_RankThread] = []

    def submit(self, rank: int, job: Callable[[], None]) -> None:
        """Run ``job``, which must not raise, on the thread of that rank, once it has done what it does now."""
        while rank >= len(self._threads):
            self._threads.append(_RankThread(len(self._threads)))
        self._threads[rank].submit(job)

    def close(self) -> None:
        """End the threads, and wait until they have ended."""
        while self._threads:
            self._threads.pop().close()


class _RankThread:
    def __init__(self, rank: int) -> None:
        self._job: Callable[[], None] | None = None
        self._has_job = _thread.allocate_lock()
        self._has_job.acquire()
        # A daemon, so that a world that nobody closed does not keep the process alive.
        self._thread = threading.Thread(target=self._work, name=f"simulated rank {rank}", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> None:
        self._job = job
        self._has_job.release()

    def close(self) -> None:
        self._job = None
        self._has_job.release()
        self._thread.join()

    def _work(self) -> None:
        while True:
            self._has_job.acquire()
            job, self._job = self._job, None
            if job is None:
                return
            job()
            del job  # nothing of an example outlives it here
