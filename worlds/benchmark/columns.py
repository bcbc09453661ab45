"""The columns of the benchmark, and how each is measured: in a process of its own, with all that it starts."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .cost import Cost
from .example import Failed

__all__ = ["COLUMNS", "Column", "measure"]

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Column:
    """A way to run the example.

    ``module`` measures it; ``needs`` is a package that it takes beside this project's own; at most ``limit`` examples
    are run, where there is a limit.
    """

    name: str
    title: str
    module: str
    needs: str | None = None
    limit: int | None = None

    def examples(self, wanted: int) -> int:
        """How many examples are run where ``wanted`` are asked for."""
        return wanted if self.limit is None else min(wanted, self.limit)

    def require(self) -> None:
        """Raise :class:`Failed` with one line where a package is missing."""
        if self.needs is not None and importlib.util.find_spec(self.needs) is None:
            raise Failed(
                f"{self.title} needs the package {self.needs}: pip install {self.needs}, or leave it out by --only"
            )


COLUMNS = (
    Column("simulated", "simulated world", "in_process"),
    Column("run", "simulated world, as a law runs it", "in_process"),
    Column("threads", "torch's MultiThreadedTestCase", "threads", needs="expecttest"),
    Column("processes", "torch's MultiProcessTestCase", "processes", needs="expecttest", limit=3),
    Column("pool", "persistent pool of gloo processes", "pool"),
    Column("floor", "floor: planner and storage calls alone", "in_process"),
)


def measure(module: str, columns: Sequence[Column], world_size: int, examples: int) -> dict[str, Cost]:
    """The costs of those columns of one module; raises :class:`Failed` with one line if there is nothing to measure.

    Whatever the measurement started has ended, and its files are gone, when this returns or raises.
    """
    # In memory where there is such a directory, as the simulated world has its checkpoints.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="dcp-stress-benchmark-", dir=memory, ignore_cleanup_errors=True) as scratch:
        names = [column.name for column in columns]
        arguments = [f"worlds.benchmark.{module}", str(world_size), str(examples), *names]
        status, printed, errors = _run(arguments, scratch)
    if status != 0 or not printed:
        reason = errors[-1] if errors else f"its process ended with status {status}"
        raise Failed(f"cannot measure {', '.join(names)} at world size {world_size}: {reason}")
    return {name: Cost(**cost) for name, cost in json.loads(printed[-1]).items()}


def _run(arguments: Sequence[str], scratch: str) -> tuple[int, list[str], list[str]]:
    """Run a module of Python; its status, and the lines it printed and complained of."""
    out, err = Path(scratch, "out"), Path(scratch, "err")
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=_ROOT,
            env={**os.environ, **_loopback(), "TMPDIR": scratch},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            status = process.wait()
        finally:
            with suppress(ProcessLookupError):  # what it has started, and left behind if it was ended or crashed
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return status, out.read_text().splitlines(), [line for line in err.read_text().splitlines() if line.strip()]


def _loopback() -> dict[str, str]:
    """What makes gloo listen on this machine alone."""
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    return {"GLOO_SOCKET_IFNAME": names[0]} if names else {}
