"""The process that rank processes are forked from: it has imported torch, has one thread, and reaps what it forked.

``python -m worlds.processes.server DESCRIPTOR DIRECTORY``: over the socket come requests of one line each, ``spawn``
with a descriptor for the new rank, or ``kill PID``; back go ``spawned PID`` and, whenever a rank has ended, ``ended PID
STATUS``. When the socket closes, or the driver is gone, its ranks have a while to end, as they do when their
connections close, and are killed if they do not; then it removes the directory, and ends.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import shutil
import signal
import socket
import sys
import time
from typing import NoReturn

__all__: list[str] = []

_PARENT_LOOKS = 1.0  # seconds between two looks whether the driver is still there
_TICK = 0.01  # seconds between two looks whether ranks have ended
_GRACE = 5.0  # seconds that ranks have to end by themselves


class _Server:
    def __init__(self, control: socket.socket, driver: int) -> None:
        self._control = control
        self._driver = driver
        self._ranks: set[int] = set()
        # A byte for each child that ends, so that select() sees it; the handler itself does nothing.
        self._wake, wake = socket.socketpair()
        self._wake.setblocking(False)
        wake.setblocking(False)
        self._waker = wake
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno())

    def run(self) -> None:
        """Serve until the driver is gone."""
        pending = b""
        while os.getppid() == self._driver:
            ready, _, _ = select.select([self._control, self._wake], [], [], _PARENT_LOOKS)
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(4096)
            self._reap()
            if self._control not in ready:
                continue
            data, descriptors, _, _ = socket.recv_fds(self._control, 4096, 64)
            if not data:
                return
            pending += data
            *lines, pending = pending.split(b"\n")
            for line in lines:
                self._serve(line.split(), descriptors)

    def _serve(self, words: list[bytes], descriptors: list[int]) -> None:
        if words[0] == b"spawn":
            self._spawn(descriptors.pop(0))
        elif words[0] == b"kill" and int(words[1]) in self._ranks:  # else it has been reaped, and the number is free
            os.kill(int(words[1]), signal.SIGKILL)

    def _spawn(self, descriptor: int) -> None:
        server = os.getpid()
        rank = os.fork()
        if rank == 0:
            self._become_rank(descriptor, server)
        os.close(descriptor)
        self._ranks.add(rank)
        self._say(f"spawned {rank}")

    def _become_rank(self, descriptor: int, server: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for one in (self._control, self._wake, self._waker):
                one.close()
            from .rank import serve

            serve(descriptor, server)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)

    def _reap(self) -> None:
        while self._ranks:
            rank, status = os.waitpid(-1, os.WNOHANG)
            if rank == 0:
                return
            self._ranks.discard(rank)
            self._say(f"ended {rank} {os.waitstatus_to_exitcode(status)}")

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # the driver is gone, which the next look tells
            self._control.sendall(f"{line}\n".encode())

    def close(self) -> None:
        """Wait until the ranks have ended, and kill those that do not: what measures them writes down what it has."""
        for rank in self._ranks:
            os.kill(rank, signal.SIGCONT)  # those that were stopped between two jobs
        until = time.monotonic() + _GRACE
        while self._ranks and time.monotonic() < until:
            self._reap()
            time.sleep(_TICK)
        for rank in self._ranks:
            os.kill(rank, signal.SIGKILL)
        while self._ranks:
            self._ranks.discard(os.wait()[0])


def _main() -> None:
    driver = os.getppid()
    control = socket.socket(fileno=int(sys.argv[1]))
    directory = sys.argv[2]
    try:
        import torch
        import torch._dynamo  # which torch itself imports in the first DTensor or optimizer of a process

        from . import jobs  # noqa: F401  (what ranks need, imported once for all of them)

        torch.set_num_threads(1)
        gc.collect()
        gc.freeze()
        server = _Server(control, driver)
        try:
            server.run()
        finally:
            server.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _main()
