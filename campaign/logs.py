"""Append-only files of JSON lines, one for each process that writes: what is in them is the campaign."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Log", "Record", "read_log"]

Record = dict[str, Any]


class Log:
    """A file that records are appended to; each is with the system, which outlives the process, when it returns.

    One process has it at a time: another one waits until that has ended.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("ab+", buffering=0)
        fcntl.flock(self._stream, fcntl.LOCK_EX)
        self._end_half_a_line()

    def _end_half_a_line(self) -> None:
        """That a machine which went down has left; nobody can read it."""
        if self._stream.tell():
            self._stream.seek(-1, os.SEEK_END)
            if self._stream.read(1) != b"\n":
                self._stream.write(b"\n")

    def append(self, record: Record) -> None:
        """Write a line, at once."""
        self._stream.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_log(path: Path) -> Iterator[Record]:
    """The records of a file; half a line, of a machine that went down, is left out."""
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            record: Record = json.loads(line)
            yield record
