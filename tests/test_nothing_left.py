"""Many examples in which ranks die, and campaigns that are killed in their midst: no process is left over, and no file.

A socket that listens is a process's, and goes with it; one that has a name in a directory is a file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from campaign.folder import Folder
from tests.campaigns import ROOT
from tests.script_runs import MARK, processes_with

pytestmark = pytest.mark.slow


@dataclass
class Campaign:
    """A campaign of the law on ranks that die, all of whose processes have inherited ``mark``."""

    process: subprocess.Popen[str]
    mark: str
    temporary: Path

    def processes(self) -> list[int]:
        """Those that live, the driver among them."""
        return [*processes_with(self.mark)]

    def left(self) -> list[str]:
        """What is there, and should not be when the campaign has ended."""
        processes = [f"process {number}" for number in self.processes()]
        return [*processes, *map(str, self.temporary.iterdir()), *map(str, of_dead_processes())]


def of_dead_processes() -> Iterator[Path]:
    """The directories of checkpoints whose world has ended."""
    for path in Path("/dev/shm").glob("dcp-stress-*"):
        if not Path("/proc", path.name.split("-")[2]).exists():
            yield path


@contextmanager
def campaign(tmp_path: Path, *arguments: str) -> Iterator[Campaign]:
    mark, temporary = str(uuid.uuid4()), tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, MARK: mark, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "campaign", "fuzz", "killed_ranks", "--seed=1", "--into", str(tmp_path / "into")]
    with subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        begun = Campaign(process, mark, temporary)
        try:
            yield begun
        finally:
            for number in begun.processes():
                os.kill(number, signal.SIGKILL)


def until(holds: Callable[[], bool], seconds: float, says: Callable[[], object]) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, says()
        time.sleep(0.05)


def test_five_hundred_examples_in_which_ranks_die_leave_nothing(tmp_path: Path) -> None:
    before = {*of_dead_processes()}
    with campaign(tmp_path, "--workers=1", "--units=1", "--max-examples=500", "--max-time=2h") as begun:
        said, _ = begun.process.communicate()
        left = set(begun.left()) - set(map(str, before))
    assert begun.process.returncode == 0, said
    tally = Folder(tmp_path / "into").tally()
    died = {what: count for what, count in tally.features.items() if what.startswith("ranks that die: ")}
    print(f"{tally.examples} examples, {tally.known}, {died}")
    assert tally.examples == 500
    assert not left


@pytest.mark.parametrize("ranks", [1, 3, 8])
def test_campaign_that_is_killed_leaves_nothing(ranks: int, tmp_path: Path) -> None:
    """At several moments: its processes are itself, its worker, the one that ranks are forked from, and ranks."""
    before = {*map(str, of_dead_processes())}
    with campaign(tmp_path, "--workers=1", "--max-time=1h") as begun:
        until(lambda: len(begun.processes()) >= 3 + ranks, 120, begun.left)
        begun.process.kill()
        begun.process.communicate()
        until(lambda: not set(begun.left()) - before, 60, begun.left)
