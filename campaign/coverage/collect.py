"""What coverage.py measures in each process of a measure, and what all of them reached together."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..files import write_whole
from ..status import Unable
from .measured import Measured

__all__ = ["combined", "measured_python", "package", "require_coverage"]

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


def measured_python(place: Path) -> Sequence[str]:
    """The command that runs Python under coverage.py, whose data are in that directory."""
    for data in place.glob("data.*"):  # of a run that was killed
        data.unlink()
    settings = place / "coveragerc"
    write_whole(settings, _settings(place.resolve()))
    return [sys.executable, "-m", "coverage", "run", f"--rcfile={settings.resolve()}"]


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
