"""Runs Python as a command, without the seconds that it would take to import torch once more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests import warm_server

__all__ = ["ROOT", "run_python"]

ROOT = Path(__file__).parents[1]


def run_python(
    *arguments: str, directory: Path = ROOT, environment: Mapping[str, str] | None = None, seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    """What ``python`` does with ``arguments``, in a process that is forked from one that has imported this project.

    ``environment`` is what it has beside what this process has. The status is that of ``SIGALRM`` where it has taken
    too long.
    """
    with tempfile.TemporaryDirectory() as files:
        output, errors = (Path(files, name) for name in ("output", "errors"))
        variables = {**os.environ, **(environment or {})}
        job = warm_server.Job([*arguments], str(directory), variables, str(output), str(errors), seconds)
        status = _server().run(job)
        texts = [path.read_text(encoding="utf-8") for path in (output, errors)]
        return subprocess.CompletedProcess([*arguments], status, *texts)


@cache
def _server() -> _Server:
    """One for all tests of this process; it ends with this process, whose end of its input it reads."""
    return _Server()


class _Server:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", warm_server.__file__],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, job: warm_server.Job) -> int:
        """The status that it ended with."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(vars(job)), file=self._process.stdin, flush=True)
        status: int = json.loads(self._process.stdout.readline())
        return status
