"""What is measured in parts: a process for each, with a directory that keeps what came of it, so that it can go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .files import write_whole
from .logs import Record
from .pool import ROOT, sweep

__all__ = ["Part", "run_parts"]

_DONE, _OUTPUT = "done.json", "output"
_TICK = 0.1  # seconds between two looks


@dataclass(frozen=True)
class Part:
    """What one process runs: ``python -m MODULE ARGUMENTS`` in the directory ``cwd``, for ``patience`` seconds at most.

    ``read`` makes a record of its exit status, its output and its directory; what is ``said`` there is shown.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    read: Callable[[int, str, Path], Record]
    patience: float
    cwd: Path | None = None


def _python(place: Path) -> Sequence[str]:
    return [sys.executable]


def run_parts(
    parts: Iterable[Part],
    directory: Path,
    *,
    workers: int = 1,
    show: Callable[[str], None],
    python: Callable[[Path], Sequence[str]] = _python,
    path: Sequence[Path] = (),
) -> list[Record]:
    """Run those that the directory does not have yet, so many at a time; the records of all, in their order.

    ``python`` is the command that runs Python, for the directory of a part, and ``path`` are directories in which it
    looks for modules before all others. A record also has the ``cpu`` of the process and of all that it waited for, and
    the ``seconds`` that passed.
    """
    parts = list(parts)
    left = [part for part in parts if not (directory / part.name / _DONE).exists()]
    running: list[_Running] = []
    try:
        while left or running:
            while left and len(running) < workers:
                part = left.pop(0)
                place = directory / part.name
                place.mkdir(parents=True, exist_ok=True)
                running.append(_Running(part, place, python(place), path))
            time.sleep(_TICK)
            for each in [*running]:
                if each.has_ended():
                    running.remove(each)
                    show(f"{each.part.name}: {each.finish()['said']}")
    finally:
        for each in running:
            each.end()
    return [json.loads((directory / part.name / _DONE).read_text(encoding="utf-8")) for part in parts]


class _Running:
    """A part that runs, in a directory of its own."""

    def __init__(self, part: Part, place: Path, python: Sequence[str], path: Sequence[Path]) -> None:
        self.part = part
        self._place = place
        self._cpu = 0.0
        before = [str(each.resolve()) for each in path]
        where = os.pathsep.join(filter(None, [*before, str(ROOT), os.environ.get("PYTHONPATH")]))
        with (place / _OUTPUT).open("wb") as output:
            self._process = subprocess.Popen(
                [*python, "-m", part.module, *part.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=part.cwd,
                env={**os.environ, "PYTHONPATH": where, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # so that what it starts can be ended with it
            )
        self._begun = time.monotonic()

    def has_ended(self) -> bool:
        """Whether it has, by itself or since its time was over."""
        if not self._wait(os.WNOHANG) and time.monotonic() - self._begun > self.part.patience:
            self.end()
        return self._process.returncode is not None

    def _wait(self, options: int = 0) -> bool:
        """Whether it has ended; unlike ``Popen.wait``, which does not tell of its CPU."""
        if self._process.returncode is None:
            ended, status, usage = os.wait4(self._process.pid, options)
            if ended:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._cpu = usage.ru_utime + usage.ru_stime
        return self._process.returncode is not None

    def end(self) -> None:
        """End it, and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._wait()
        sweep(self._process.pid)

    def finish(self) -> Record:
        """Write down what came of it."""
        self.end()
        output = (self._place / _OUTPUT).read_text(encoding="utf-8", errors="replace")
        record = {
            **self.part.read(self._process.returncode, output, self._place),
            "cpu": round(self._cpu, 2),
            "seconds": round(time.monotonic() - self._begun, 2),
        }
        write_whole(self._place / _DONE, json.dumps(record))
        return record
