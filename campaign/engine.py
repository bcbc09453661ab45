"""A campaign: units for workers until the time is over, with all of it on disk as it happens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count

from .finding import Finding
from .folder import Folder
from .logs import Log, Record
from .pool import Pool, WorkerProcess
from .schedule import Schedule
from .status import Unable
from .tally import Tally

__all__ = ["Engine"]

_TICK = 2.0
_GRACE = 15.0
"""Seconds that a worker has, after it was asked to stop, to describe what it has just found."""

_STARTS = 3
"""After so many workers, one after the other, that die before they are ready, there is no use in another one."""


class Engine:
    """Drives the workers of one process, from :meth:`run` on. ``show`` is called about once a second."""

    def __init__(
        self,
        folder: Folder,
        tally: Tally,
        *,
        earlier: Sequence[Finding] = (),
        show: Callable[[Engine], None] = lambda _: None,
    ) -> None:
        self.plan = folder.plan()
        self.folder = folder
        self.tally = tally
        self.started = time.monotonic()
        self._running = False
        self.examples_before = tally.examples
        self._before = tally.elapsed
        self._stored = {finding.id for finding in earlier}
        self._earlier = [finding for finding in earlier if finding.id not in tally.again]
        self._show = show
        self._session = f"{tally.sessions:03}"
        self._names = (f"{self._session}-{number:03}" for number in count())
        self._findings = folder.findings()
        self._schedule = Schedule(self.plan, tally, list(self._stored))
        self._pool = Pool(folder.path, self.plan.world, self.plan.storage)
        self._ticked = self.started
        self._written: dict[str, Finding] = {}
        self._ending = False
        self._not_started = 0

    @property
    def new(self) -> set[str]:
        """The findings that nobody had before this campaign."""
        return {*self.tally.findings} - self._stored

    @property
    def left(self) -> float:
        """Seconds of the campaign's time that are left; it runs once there is a worker that can work."""
        if not self._running:
            return self.plan.seconds - self._before
        return self.plan.seconds - self._before - (time.monotonic() - self.started)

    def run(self) -> bool:
        """Work until the time is over, or an interrupt; whether it was that. What is under way is ended, and kept."""
        with Log(self.folder.path / "log" / f"{self._session}-engine.jsonl") as self._log:
            self._write({"is": "session", "process": os.getpid()})
            try:
                return self._run()
            finally:
                self._cut_off()
                self._tick()

    def _run(self) -> bool:
        interrupted = False
        try:
            for _ in range(self.plan.workers if self.left > 0 else 0):
                self._pool.start(next(self._names))
            self._work()
            self._pool.finish()
            self._hear_until(time.monotonic() + self.plan.shrink_seconds + _GRACE)
        except KeyboardInterrupt:
            interrupted = True
        with suppress(KeyboardInterrupt):  # asked twice
            self._pool.stop()
            self._hear_until(time.monotonic() + _GRACE)
        return interrupted

    def _work(self) -> None:
        while self.left > 0:
            for worker in self._pool.workers:
                if worker.ready and worker.busy is None:
                    self._give(worker)
            if all(worker.ready and worker.busy is None for worker in self._pool.workers):
                return  # there is nothing left to do
            self._hear(min(0.2, max(self.left, 0)))
            self._end_hanging()
            if time.monotonic() - self._ticked > _TICK:
                self._tick()
            self._show(self)

    def _give(self, worker: WorkerProcess) -> None:
        if self._earlier:
            finding = self._earlier.pop(0)
            worker.ask(f"again {finding.id}", {"again": finding.to_data()})
            return
        unit = self._schedule.next(max(self.left, 0.1))
        if unit is not None:
            worker.ask(unit.id, {"unit": unit.to_data()})

    def _hear(self, seconds: float) -> None:
        for worker, record in self._pool.hear(seconds):
            if record is None:
                self._bury(worker)
            elif record["is"] == "ready":
                worker.ready = True
                self._not_started = 0
                if not self._running:
                    self._running = True
                    self.started = self._ticked = time.monotonic()
            else:
                self._take(record)
                if record["is"] in ("end", "again"):
                    worker.busy = None

    def _take(self, record: Record) -> None:
        self.tally.add(record)
        if record["is"] == "finding":
            finding = self.tally.findings[record["finding"]["id"]]
            if self._written.get(finding.id) is not finding:
                finding.store(self._findings)
                self._written[finding.id] = finding
        elif record["is"] == "end":
            self._schedule.ended(record["unit"])
        elif record["is"] == "lost":
            self._schedule.lost(record["unit"])

    def _bury(self, worker: WorkerProcess) -> None:
        """What a worker that is dead had done is counted, its unit is lost, and another one takes its place."""
        how = worker.how_it_ended()
        for record in self.folder.recover(worker.name, how):
            self._take(record)
        if self._ending:
            return
        self._not_started += not worker.ready
        if self._not_started == _STARTS:
            errors = (self.folder.path / "log" / f"{worker.name}.stderr").read_text(errors="replace").strip()
            raise Unable(f"no worker can start: {errors.rpartition(chr(10))[2] or how}")
        self._pool.start(next(self._names))

    def _end_hanging(self) -> None:
        for worker in self._pool.workers:
            if worker.busy is not None and time.monotonic() - worker.heard > self.plan.patience:
                worker.hung = True
                worker.process.kill()

    def _hear_until(self, end: float) -> None:
        """Let the workers write down what they have, until that time at most."""
        self._ending = True
        while self._pool.workers and time.monotonic() < end:
            self._hear(0.2)
            self._end_hanging()
            self._show(self)

    def _cut_off(self) -> None:
        """End those that did not end by themselves."""
        names = [worker.name for worker in self._pool.workers]
        self._pool.close()
        for name in names:
            for record in self.folder.recover(name, "cut off at the end of the campaign"):
                self._take(record)

    def _tick(self) -> None:
        now = time.monotonic() if self._running else self._ticked
        tally = self.tally
        record = {"is": "tick", "seconds": round(now - self._ticked, 3), "examples": tally.examples}
        self._write({**record, "behaviours": tally.behaviours, "findings": len(tally.findings)})
        self._ticked = now

    def _write(self, record: Record) -> None:
        record = {"at": round(time.time(), 3), **record}
        self._log.append(record)
        self.tally.add(record)
