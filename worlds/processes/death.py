"""How a rank process is made to die: calls of DCP's storage, planner and file system are wrapped where a kill is.

Classes are patched, and not put back: a process with a kill runs one job, and ends.
"""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Literal, NoReturn

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystem

from ..killed import Kill
from ..state import Stateful
from .rank import rank_reports

__all__ = ["arm"]

_OWNERS = {
    ("save", "stateful"): Stateful,
    ("load", "stateful"): Stateful,
    ("save", "writer"): dcp.FileSystemWriter,
    ("save", "planner"): dcp.DefaultSavePlanner,
    ("load", "reader"): dcp.FileSystemReader,
    ("load", "planner"): dcp.DefaultLoadPlanner,
}
_FILE_METHODS = {"file.mkdir": "mkdir", "file.remove": "rm_file", "file.rename": "rename"}


def arm(operation: Literal["save", "load"], kills: Sequence[tuple[int, Kill]]) -> None:
    """Let this process die where the kills say; each comes with its number, which the driver is told first."""
    for number, kill in kills:
        if kill.place in ("file.open", "file.write"):
            _arm_streams(number, kill)
        elif kill.place in _FILE_METHODS:
            _arm_method(FileSystem, _FILE_METHODS[kill.place], number, kill)
        else:
            owner, method = kill.place.split(".")
            _arm_method(_OWNERS[operation, owner], method, number, kill)


def _die(number: int) -> NoReturn:
    rank_reports(number)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process that was killed goes on")


def _arm_method(owner: type, name: str, number: int, kill: Kill) -> None:
    method: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(kill.skip + 1))

    @wraps(method)  # with the signature, which DCP looks at
    def deadly(*args: Any, **kwargs: Any) -> Any:
        last = next(calls, kill.skip) == kill.skip
        if last and not kill.done:
            _die(number)
        result = method(*args, **kwargs)
        if last:
            _die(number)
        return result

    setattr(owner, name, deadly)


def _arm_streams(number: int, kill: Kill) -> None:
    create = FileSystem.create_stream
    budget = _Budget(number, kill.skip)

    @contextmanager
    def create_deadly(self: FileSystem, path: str | os.PathLike[str], mode: str) -> Iterator[io.IOBase]:
        if kill.place == "file.open" and not kill.done:
            budget.spend(1)
        with create(self, path, mode) as stream:
            if kill.place == "file.open":
                if kill.done:
                    budget.spend(1)
                yield stream
            else:
                yield _DeadlyStream(stream, budget)  # type: ignore[misc]

    FileSystem.create_stream = create_deadly  # type: ignore[method-assign]


class _Budget:
    """Dies when more than ``left`` was spent."""

    def __init__(self, number: int, left: int) -> None:
        self._number = number
        self.left = left

    def spend(self, amount: int) -> None:
        if amount > self.left:
            _die(self._number)
        self.left -= amount


class _DeadlyStream:
    """A stream that writes what is left of the budget, so that it is in the file, and dies."""

    def __init__(self, stream: io.IOBase, budget: _Budget) -> None:
        self._stream: Any = stream
        self._budget = budget

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if len(view) > self._budget.left:
            self._stream.write(view[: self._budget.left])
            self._stream.flush()
        self._budget.spend(len(view))
        written: int = self._stream.write(view)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
