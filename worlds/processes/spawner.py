"""The driver's side of the process that ranks are forked from."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection

__all__ = ["RankProcess", "Spawner", "SpawnerFailed"]


class SpawnerFailed(RuntimeError):
    """The process that ranks are forked from could not be started, or has ended."""


class RankProcess:
    """A rank: its process number, and the connection to it.

    It is stopped by the system between its jobs, where the system ends it as soon as its parent is gone: a thread of
    gloo for each of its groups wakes up a hundred times a second otherwise, whatever the rank does.
    """

    def __init__(self, pid: int, connection: Connection) -> None:
        self.pid = pid
        self.connection = connection
        self._handle = _handle_of(pid)

    def stop(self) -> None:
        """Have it do nothing until it is to go on."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again, if it has not ended."""
        self._send(signal.SIGCONT)

    def close(self) -> None:
        """Close the connection to it, by which it ends."""
        self.go_on()
        self.connection.close()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _send(self, number: signal.Signals) -> None:
        if self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)


def _handle_of(pid: int) -> int | None:
    """What stands for that process even when its number is used again; ``None`` where the system has no such thing."""
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError):
        return os.pidfd_open(pid)
    return None


class Spawner:
    """Starts rank processes and tells how they ended. ``directory`` goes with it, even if the driver is killed."""

    def __init__(self, directory: str) -> None:
        if not hasattr(os, "fork"):
            raise SpawnerFailed("the process world needs a system that can fork, which this one cannot")
        self._control, theirs = socket.socketpair()
        self._ended: dict[int, int] = {}
        self._pending = b""
        self._spawned: list[int] = []
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worlds.processes.server", str(theirs.fileno()), directory],
                pass_fds=[theirs.fileno()],
                env=_environment(directory),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if os.environ.get("DCP_STRESS_RANK_OUTPUT") else subprocess.DEVNULL,
                start_new_session=True,  # so that Ctrl-C reaches the driver, which ends the ranks
            )

    @property
    def pid(self) -> int:
        """The number of the process that ranks are forked from."""
        return self._process.pid

    def spawn(self, count: int) -> list[RankProcess]:
        """Start that many rank processes."""
        connections = []
        for _ in range(count):
            ours, theirs = Pipe()
            with theirs, self._told():
                socket.send_fds(self._control, [b"spawn\n"], [theirs.fileno()])
                while not self._spawned:
                    self._hear()
            connections.append(RankProcess(self._spawned.pop(), ours))
        return connections

    def kill(self, ranks: list[RankProcess]) -> None:
        """Kill those that have not ended, and wait until each has."""
        with self._told():
            for rank in ranks:
                self._control.sendall(f"kill {rank.pid}\n".encode())
        for rank in ranks:
            self.exit_code(rank)
            rank.close()

    def exit_code(self, rank: RankProcess) -> int:
        """How a rank has ended, which is waited for: its exit status, or minus the number of the signal."""
        with self._told():
            while rank.pid not in self._ended:
                self._hear()
        return self._ended[rank.pid]

    def close(self) -> None:
        """End all ranks and the process that they are forked from."""
        self._control.close()
        self._process.wait()

    @contextlib.contextmanager
    def _told(self):  # type: ignore[no-untyped-def]
        try:
            yield
        except OSError as error:
            raise SpawnerFailed(self._how_it_ended()) from error

    def _hear(self) -> None:
        data = self._control.recv(4096)
        if not data:
            raise SpawnerFailed(self._how_it_ended())
        self._pending += data
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            word, *numbers = line.split()
            if word == b"spawned":
                self._spawned.append(int(numbers[0]))
                self._ended.pop(int(numbers[0]), None)  # a number that the system uses again
            else:
                self._ended[int(numbers[0])] = int(numbers[1])

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        return f"the process that ranks are forked from ended with {how}; DCP_STRESS_RANK_OUTPUT=1 shows why"


def _environment(directory: str) -> dict[str, str]:
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    # Sockets through which tensors go to a daemon of async_save are files that a rank which is killed leaves. Elsewhere
    # the directory is among temporary files already, and the name of a socket must not become too long.
    temporary = {"TMPDIR": directory} if sys.platform == "linux" else {}
    return {
        **os.environ,
        **temporary,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "GLOO_SOCKET_IFNAME": loopback,
        # A process with threads cannot safely be forked, and tensors are too small here for more than one.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
