"""Workers on a Ray cluster: each is a local worker process beside an actor, which passes on what both sides say.

Units, records and what becomes of a worker that dies are those of :mod:`campaign.pool`. A node that has the campaign's
directory under the same path, as this machine and those of a shared file system, writes into it. What comes from any
other node is written down here as it is heard; of a node that is gone, its last second and the case are lost.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .folder import Folder
from .logs import Log, Record
from .pool import ROOT, Pool
from .status import Unable

__all__ = ["RayPool", "RayWorker", "cluster_cpus"]

_HEAR = 1.0
"""Seconds after which an actor answers that there is nothing to hear."""


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise Unable("Ray is not installed: pip install 'dcp-stress[ray]'") from None
    return ray


def _join(address: str) -> Any:
    """Ray, connected to the cluster; raises :class:`Unable` where there is none."""
    ray = _ray()
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            said = str(error).strip().partition("\n")[0]
            raise Unable(f"no Ray cluster at {address}: {said} (`ray start --head` begins one)") from None
    return ray


def cluster_cpus(address: str) -> int:
    """How many CPUs the cluster has."""
    return max(1, int(_join(address).cluster_resources().get("CPU", 1)))


class Beside:
    """The actor: it has one local worker, in the campaign's directory if that is here, or else in one of its own."""

    def __init__(self, directory: str, plan: str, name: str, chosen: tuple[str, str, str]) -> None:
        path = Path(directory)
        self._name = name
        self._own: Path | None = None
        if not self._is_here(path, plan):
            self._own = path = Path(tempfile.mkdtemp(prefix="dcp-stress-campaign-"))
            (path / "campaign.json").write_text(plan, encoding="utf-8")
        self._folder = Folder(path)
        (path / "log").mkdir(exist_ok=True)
        self._pool = Pool(path, *chosen)
        self._worker = self._pool.start(name)

    @staticmethod
    def _is_here(path: Path, plan: str) -> bool:
        with suppress(OSError):
            return (path / "campaign.json").read_text(encoding="utf-8") == plan
        return False

    def ask(self, what: str, request: dict[str, Any]) -> None:
        """Pass it on."""
        self._worker.ask(what, request)

    def hear(self) -> tuple[bool, list[Record], str | None]:
        """Whether records are to be written down by whoever hears them; these; and how the worker ended, if it has."""
        heard: list[Record] = []
        how = None
        end = time.monotonic() + _HEAR
        while not heard and how is None and time.monotonic() < end:
            for worker, record in self._pool.hear(max(0, end - time.monotonic())):
                if record is not None:
                    heard.append(record)
                    continue
                how = worker.how_it_ended()
                if self._own is not None:
                    heard += self._folder.recover(self._name, how)
                    shutil.rmtree(self._own, ignore_errors=True)
        return self._own is not None, heard, how

    def finish(self) -> None:
        """As the pool's."""
        self._pool.finish()

    def stop(self) -> None:
        """As the pool's."""
        self._pool.stop()

    def kill(self, *, hung: bool = False) -> None:
        """End the worker at once."""
        self._worker.hung = hung
        self._worker.process.kill()


@dataclass
class RayWorker:
    """A worker as its driver sees it, as :class:`campaign.pool.WorkerProcess`."""

    name: str
    actor: Any
    ready: bool = False
    hung: bool = False
    busy: str | None = None
    heard: float = field(default_factory=time.monotonic)
    how: str = "was lost, with its Ray worker or the whole node"

    def ask(self, what: str, request: dict[str, Any]) -> None:
        """Send it something to do."""
        self.busy = what
        self.actor.ask.remote(what, request)

    def kill(self) -> None:
        """End it at once."""
        self.actor.kill.remote(hung=self.hung)

    def how_it_ended(self) -> str:
        """In words, once it has."""
        return self.how


class RayPool:
    """As :class:`campaign.pool.Pool`, on the cluster at ``address``; each worker takes one CPU of it."""

    def __init__(self, directory: Path, world: str, address: str, storage: str = "", planners: str = "") -> None:
        self._ray = _join(address)
        self._directory = directory
        self._plan = (directory / "campaign.json").read_text(encoding="utf-8")
        self._chosen = world, storage, planners
        self._hearing: dict[Any, RayWorker] = {}
        self._logs: dict[str, Log] = {}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        # An actor does two things at once: it hears its worker, and is told what to ask.
        self._actor = self._ray.remote(Beside).options(
            num_cpus=1, max_restarts=0, max_concurrency=2, runtime_env={"env_vars": {"PYTHONPATH": path}}
        )

    @property
    def workers(self) -> list[RayWorker]:
        """Those that have not ended."""
        return [*self._hearing.values()]

    def start(self, name: str) -> RayWorker:
        """Start a worker, as soon as the cluster has a CPU for it; it is ready when it says so."""
        actor = self._actor.remote(str(self._directory.resolve()), self._plan, name, self._chosen)
        worker = RayWorker(name, actor)
        self._hearing[actor.hear.remote()] = worker
        return worker

    def hear(self, seconds: float) -> Iterator[tuple[RayWorker, Record | None]]:
        """What workers say within that time; ``None`` of one that has ended."""
        if not self._hearing:
            time.sleep(seconds)
            return
        done, _ = self._ray.wait([*self._hearing], num_returns=1, timeout=seconds)
        for reference in done:
            worker = self._hearing.pop(reference)
            try:
                elsewhere, records, how = self._ray.get(reference)
            except self._ray.exceptions.RayError:
                yield from self._ended(worker)
                continue
            if records:
                worker.heard = time.monotonic()
            if how is None:
                self._hearing[worker.actor.hear.remote()] = worker
            for record in records:
                if elsewhere and record["is"] != "ready":
                    self._write(worker.name, record)
                yield worker, record
            if how is not None:
                worker.how = how
                yield from self._ended(worker)

    def _ended(self, worker: RayWorker) -> Iterator[tuple[RayWorker, None]]:
        if worker.name in self._logs:
            self._logs.pop(worker.name).close()
        self._ray.kill(worker.actor)
        yield worker, None

    def _write(self, name: str, record: Record) -> None:
        if name not in self._logs:
            self._logs[name] = Log(self._directory / "log" / f"{name}.jsonl")
        self._logs[name].append(record)

    def finish(self) -> None:
        """Let all end when they have done what they are at."""
        for worker in self.workers:
            worker.actor.finish.remote()

    def stop(self) -> None:
        """Ask all to end after the example that they are at."""
        for worker in self.workers:
            worker.actor.stop.remote()

    def close(self) -> None:
        """End all that are left, and leave the cluster."""
        for worker in self.workers:
            with suppress(self._ray.exceptions.RayError):
                self._ray.get(worker.actor.kill.remote(), timeout=5)
            for _ in self._ended(worker):
                pass
        self._hearing.clear()
        self._ray.shutdown()
