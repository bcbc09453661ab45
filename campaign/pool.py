"""Local workers: processes that units are sent to, heard of through pipes, and replaced when they die or hang."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .logs import Record

__all__ = ["ROOT", "Pool", "WorkerProcess", "sweep"]

ROOT = Path(__file__).parents[1]
"""Where the packages are."""


@dataclass
class WorkerProcess:
    """A worker as its driver sees it; ``busy`` is what it was asked for and has not ended."""

    name: str
    process: subprocess.Popen[bytes]
    ready: bool = False
    hung: bool = False
    busy: str | None = None
    heard: float = field(default_factory=time.monotonic)
    rest: bytes = b""

    def ask(self, what: str, request: dict[str, Any]) -> None:
        """Send it something to do; that it is dead is seen when it is heard of."""
        self.busy = what
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def how_it_ended(self) -> str:
        """In words, once it has."""
        if self.hung:
            return "hung, and was killed"
        status = self.process.returncode
        return f"killed by signal {-status}" if status < 0 else f"ended with status {status}"


class Pool:
    """Workers, each with a name of its own."""

    def __init__(self, directory: Path, world: str, storage: str = "", planners: str = "") -> None:
        self._directory = directory
        self._chosen = [world, storage, planners]
        self._selector = selectors.DefaultSelector()
        self.workers: list[WorkerProcess] = []

    def start(self, name: str) -> WorkerProcess:
        """Start a worker; it is ready when it says so."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with (self._directory / "log" / f"{name}.stderr").open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "campaign.worker", str(self._directory.resolve()), name, *self._chosen],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # an interrupt is the driver's
            )
        worker = WorkerProcess(name, process)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        self.workers.append(worker)
        return worker

    def hear(self, seconds: float) -> Iterator[tuple[WorkerProcess, Record | None]]:
        """What workers say within that time; ``None`` of one that has ended."""
        for key, _ in self._selector.select(seconds):
            worker: WorkerProcess = key.data
            data = os.read(key.fd, 1 << 20)
            worker.heard = time.monotonic()
            *lines, worker.rest = (worker.rest + data).split(b"\n")
            for line in lines:
                yield worker, json.loads(line)
            if not data:
                self._forget(worker)
                yield worker, None

    def _forget(self, worker: WorkerProcess) -> None:
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        self.workers.remove(worker)
        worker.process.wait()
        for stream in (worker.process.stdin, worker.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        sweep(worker.process.pid)

    def finish(self) -> None:
        """Let all end when they have done what they are at."""
        for worker in self.workers:
            if worker.process.stdin is not None:
                worker.process.stdin.close()

    def stop(self) -> None:
        """Ask all to end after the example that they are at."""
        for worker in self.workers:
            worker.process.terminate()

    def close(self) -> None:
        """End all that are left."""
        for worker in [*self.workers]:
            worker.process.kill()
            self._forget(worker)
        self._selector.close()


def sweep(process: int) -> None:
    """Remove the checkpoints that a worker leaves which is ended in the midst of an example."""
    for directory in {"/dev/shm", tempfile.gettempdir()}:
        for left in Path(directory).glob(f"dcp-stress-{process}-*"):
            shutil.rmtree(left, ignore_errors=True)
