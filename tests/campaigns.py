"""Campaigns as tests run them: in this process, or by the command in one that counts and does as a test wants."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from campaign.cli import main

__all__ = ["ROOT", "campaign", "fuzz", "plant_counter", "until", "workers_of"]

ROOT = Path(__file__).parents[1]

# Each process that has this counts, in a file, the scenarios that it begins to run, and does what else a test wants.
COUNTING = """
import os, time, worlds
calls, run = 0, worlds.SimulatedWorld.run
def counted(self, scenario):
    global calls
    calls += 1
    with open({path!r}, "ab", buffering=0) as stream:
        stream.write(b".")
    {more}
    return run(self, scenario)
worlds.SimulatedWorld.run = counted
"""


def fuzz(into: Path, *arguments: str) -> int:
    return main(["fuzz", *arguments, "--into", str(into), "--workers=1", "--seed=1"])


def plant_counter(directory: Path, more: str = "") -> Path:
    """Make ``directory`` one that counts, and return the file that a byte is added to for each scenario."""
    directory.mkdir()
    path = directory / "count"
    path.touch()
    (directory / "sitecustomize.py").write_text(COUNTING.format(path=str(path), more=more))
    return path


@contextmanager
def campaign(arguments: Sequence[str], planted_in: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own; what is left of it is killed at the end."""
    path = os.pathsep.join(map(str, [ROOT, *([planted_in] if planted_in else [])]))
    process = subprocess.Popen(
        [sys.executable, "-m", "campaign", "fuzz", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(holds: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < end
        time.sleep(0.05)


def workers_of(process: int) -> list[int]:
    task = Path(f"/proc/{process}/task")
    if not task.is_dir():
        pytest.skip("the system does not tell")
    return [int(child) for one in task.iterdir() for child in (one / "children").read_text().split()]
