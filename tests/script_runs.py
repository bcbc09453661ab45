"""Runs a script as its header says, on real processes that can import torch and nothing of this project."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import planting

__all__ = ["Plant", "Run", "command_of", "run_script"]

_MARK = "DCP_STRESS_TEST_RUN"


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
    """Run ``script`` in the empty ``directory``, with ``plants`` in its torch; no process of it may be left over."""
    (directory / "reproduce.py").write_text(script, encoding="utf-8")
    (directory / "tmp").mkdir()
    mark = str(uuid.uuid4())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TORCH"))}
    environment |= {_MARK: mark, "TMPDIR": str(directory / "tmp"), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    # -I keeps this project out; a planted bug is what the variable is then needed for.
    isolated = ["-I"]
    if plants:
        (directory / "planted").mkdir()
        (directory / "planted" / "sitecustomize.py").write_text(_plant_source(plants), encoding="utf-8")
        environment["PYTHONPATH"] = str(directory / "planted")
        isolated = []
    launcher, *arguments = command_of(script)
    start = [sys.executable, *isolated, *(["-m", "torch.distributed.run"] if launcher == "torchrun" else [])]
    try:
        done = subprocess.run(
            [*start, *arguments],
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
    finally:
        left = list(_processes_with(mark))
        for process in left:
            os.kill(process, 9)
    assert not left, f"{len(left)} processes are left over"
    return Run(done.returncode, done.stdout)


def _plant_source(plants: Sequence[Plant]) -> str:
    """A module that is imported when a Python process starts, and plants the bugs for as long as that runs."""
    lines = [Path(planting.__file__).read_text(encoding="utf-8")]
    for index, plant in enumerate(plants):
        module, _, attribute = plant.owner.partition(":")
        owner = f"sys.modules[{module!r}]" + (f".{attribute}" if attribute else "")
        lines.append(f"import sys, {module}")
        lines.append(f"plant_{index} = planted({owner}, {plant.function!r}, {plant.old!r}, {plant.new!r})")
        lines.append(f"plant_{index}.__enter__()")
    return "\n".join(lines) + "\n"


def _processes_with(mark: str) -> Iterator[int]:
    """The processes that have inherited the mark, where the system shows what processes have inherited."""
    wanted = f"{_MARK}={mark}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            inherited = environ.read_bytes()
        except OSError:  # it has ended, or is another user's
            continue
        if wanted in inherited.split(b"\0"):
            yield int(environ.parent.name)
