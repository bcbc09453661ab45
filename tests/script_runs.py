"""Runs a script on real processes that can import torch and nothing of this project."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from campaign.planted import plant as planting
from campaign.script.killed import TIMEOUT
from campaign.script.outcomes import SECONDS
from tests import script_server

__all__ = ["MARK", "Plant", "Run", "command_of", "processes_with", "run_as_said", "run_script"]

MARK = "DCP_STRESS_TEST_RUN"
"""The variable that says to which run a process belongs."""
_SHORT = 5
"""How many seconds a rank waits here before its script takes it for hanging: its peers are on this machine."""
_START = 30
"""How many seconds of a wait for a rank that has died are enough here, where to start a rank takes a few."""
_GRACE = 10
"""How many seconds a process may go on when its script has ended."""


@dataclass(frozen=True)
class Plant:
    """A line of torch to replace: ``owner`` is a module, or with a colon a class of it."""

    owner: str
    function: str
    old: str
    new: str


@dataclass(frozen=True)
class Run:
    """How a script ended, and what it wrote."""

    status: int
    output: str


def command_of(script: str) -> list[str]:
    """The command in the script's header."""
    (line,) = re.findall(r"^    ((?:python|torchrun) .*reproduce\.py)$", script, re.MULTILINE)
    return shlex.split(line)


def run_script(script: str, directory: Path, *, plants: Sequence[Plant] = (), seconds: float = 180) -> Run:
    """Run ``script`` in the empty ``directory``, with ``plants`` in its torch; no process of it may be left over.

    Its processes fork from one that has imported torch; see :func:`run_as_said` for what a user does.
    """
    script = script.replace(f"time.sleep({SECONDS})", f"time.sleep({_SHORT})")
    script = script.replace(TIMEOUT, f"datetime.timedelta(seconds={_START})")
    _write(script, directory)
    environment = {"TMPDIR": str(directory / "tmp")}
    source = ""
    if plants:  # for the processes that fork, and for those that they start anew
        source = _plant_source(plants)
        (directory / "planted").mkdir()
        (directory / "planted" / "sitecustomize.py").write_text(source, encoding="utf-8")
        environment["PYTHONPATH"] = str(directory / "planted")
    ranks = re.search(r"--nproc-per-node=(\d+)", " ".join(command_of(script)))
    job = script_server.Job(str(directory), int(ranks[1]) if ranks else None, environment, source)
    return _server().run(job, seconds)


def run_as_said(script: str, directory: Path, *, seconds: float = 180) -> Run:
    """Run ``script`` in the empty ``directory`` by the command in its header; no process of it may be left over."""
    _write(script, directory)
    mark = str(uuid.uuid4())
    launcher, *arguments = command_of(script)
    start = [sys.executable, "-I", *(["-m", "torch.distributed.run"] if launcher == "torchrun" else [])]
    try:
        done = subprocess.run(
            [*start, *arguments],
            cwd=directory,
            env={**_environment(), MARK: mark, "TMPDIR": str(directory / "tmp")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
    finally:
        _end_all(partial(processes_with, mark))
    return Run(done.returncode, done.stdout)


def _write(script: str, directory: Path) -> None:
    (directory / "reproduce.py").write_text(script, encoding="utf-8")
    (directory / "tmp").mkdir()


def _environment() -> Mapping[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TORCH"))}
    return environment | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def _plant_source(plants: Sequence[Plant]) -> str:
    """What is executed when a Python process starts, and plants the bugs for as long as that runs."""
    lines = [Path(planting.__file__).read_text(encoding="utf-8")]
    for index, plant in enumerate(plants):
        module, _, attribute = plant.owner.partition(":")
        owner = f"sys.modules[{module!r}]" + (f".{attribute}" if attribute else "")
        lines.append(f"import sys, {module}")
        lines.append(f"plant_{index} = planted({owner}, {plant.function!r}, {plant.old!r}, {plant.new!r})")
        lines.append(f"plant_{index}.__enter__()")
    return "\n".join(lines) + "\n"


@cache
def _server() -> _Server:
    """One for all tests of this process; it ends with this process, whose end of its input it reads."""
    return _Server()


class _Server:
    def __init__(self) -> None:
        # Not isolated, since the variable PYTHONPATH is how a bug is planted in what a script starts; but without the
        # directory of the program, and the user's packages.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", script_server.__file__],
            cwd="/",
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, job: script_server.Job, seconds: float) -> Run:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(vars(job)), file=self._process.stdin, flush=True)
        output = Path(job.directory, "output")
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ready:
            self._process.kill()
            _server.cache_clear()
            raise TimeoutError(f"not done after {seconds} seconds: {output.read_text(encoding='utf-8')}")
        answer = json.loads(self._process.stdout.readline())
        _end_all(partial(_processes_in, answer["session"]))
        return Run(answer["status"], output.read_text(encoding="utf-8"))


def _end_all(processes: Callable[[], Iterator[int]]) -> None:
    """Kill what is left over, which is an error; a helper of ``multiprocessing`` ends a moment after its process."""
    until = time.monotonic() + _GRACE
    while left := list(processes()):
        if time.monotonic() > until:
            for process in left:
                os.kill(process, signal.SIGKILL)
            raise AssertionError(f"{len(left)} processes are left over")
        time.sleep(0.05)


def _processes_in(session: int) -> Iterator[int]:
    """The processes of the session, where the system shows them."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if fields[0] != "Z" and int(fields[3]) == session:
            yield int(stat.parent.name)


def processes_with(mark: str) -> Iterator[int]:
    """The processes that have inherited the mark, where the system shows what processes have inherited."""
    wanted = f"{MARK}={mark}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            inherited = environ.read_bytes()
        except OSError:  # it has ended, or is another user's
            continue
        if wanted in inherited.split(b"\0"):
            yield int(environ.parent.name)
