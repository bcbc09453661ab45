"""Processes of their own that run under coverage.py, and what all of them reached together."""

from __future__ import annotations

import importlib.metadata
import importlib.util
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

from ..files import write_whole
from ..logs import Record
from ..pool import ROOT, sweep
from ..status import Unable
from .measured import Measured

__all__ = ["Part", "combined", "package", "require_coverage", "run_parts"]

_DONE, _OUTPUT = "done.json", "output"
_TICK = 0.1  # seconds between two looks
_OLDEST = (7, 10)
"""The first coverage.py that measures processes which a measured one starts, and ones that end at once."""


def require_coverage() -> None:
    """Raise :class:`Unable`, with one line, unless coverage.py is here."""
    try:
        version = importlib.metadata.version("coverage")
    except importlib.metadata.PackageNotFoundError:
        raise Unable("coverage.py is not installed: pip install 'dcp-stress[coverage]'") from None
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise Unable(f"coverage.py is {version}, and 7.10 is needed: pip install --upgrade coverage")


def package() -> Path:
    """Where the installed torch has DCP."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "distributed" / "checkpoint"


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


def run_parts(parts: Iterable[Part], directory: Path, *, workers: int, show: Callable[[str], None]) -> list[Record]:
    """Run those that the directory does not have yet, so many at a time; the records of all, in their order."""
    parts = list(parts)
    left = [part for part in parts if not (directory / part.name / _DONE).exists()]
    running: list[_Running] = []
    try:
        while left or running:
            while left and len(running) < workers:
                running.append(_Running(left.pop(0), directory))
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

    def __init__(self, part: Part, directory: Path) -> None:
        self.part = part
        self._place = directory / part.name
        self._place.mkdir(parents=True, exist_ok=True)
        for data in self._place.glob("data.*"):  # of a run that was killed
            data.unlink()
        settings = self._place / "coveragerc"
        write_whole(settings, _settings(self._place.resolve()))
        command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings.resolve()}", "-m", part.module]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with (self._place / _OUTPUT).open("wb") as output:
            self._process = subprocess.Popen(
                [*command, *part.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=part.cwd,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # so that what it starts can be ended with it
            )
        self._until = time.monotonic() + part.patience

    def has_ended(self) -> bool:
        """Whether it has, by itself or since its time was over."""
        if self._process.poll() is None and time.monotonic() > self._until:
            self.end()
        return self._process.poll() is not None

    def end(self) -> None:
        """End it, and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        sweep(self._process.pid)

    def finish(self) -> Record:
        """Write down what came of it."""
        self.end()
        output = (self._place / _OUTPUT).read_text(encoding="utf-8", errors="replace")
        record = self.part.read(self._process.returncode, output, self._place)
        write_whole(self._place / _DONE, json.dumps(record))
        return record


def _settings(place: Path) -> str:
    """The file of settings, which coverage.py hands on to the processes that are started."""
    return (
        "[run]\n"
        "branch = True\n"
        "concurrency = thread\n"
        "parallel = True\n"
        "patch =\n    subprocess\n    _exit\n"
        f"data_file = {place / 'data'}\n"
        f"source = {package()}\n"
        "disable_warnings = no-data-collected, module-not-measured, module-not-imported\n"
    )


def combined(directories: Sequence[Path], report: Path) -> Measured:
    """What the parts in these directories reached together; ``report`` is coverage.py's own, as JSON."""
    settings = report.with_suffix(".rc")
    whole = report.with_suffix(".data")
    write_whole(settings, _settings(report.parent.resolve()).replace("parallel = True\n", ""))
    common = [f"--rcfile={settings.resolve()}", f"--data-file={whole.resolve()}", "--quiet"]
    found = [str(path.resolve()) for directory in directories for path in sorted(directory.glob("data.*"))]
    _coverage("combine", *common, "--keep", *found)
    _coverage("json", *common, "-o", str(report.resolve()))
    settings.unlink()
    return Measured.read(report, package())


def _coverage(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "coverage", *arguments], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unable(f"coverage {arguments[0]} failed: {said[-1] if said else done.returncode}")
