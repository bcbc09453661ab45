"""What a worker is at, in a file that outlives it: nothing that it did is lost with it, and what killed it is known."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["At", "Slot", "read_slot"]

_HEADER = struct.Struct("<II")  # the length and the checksum of what follows


@dataclass(frozen=True)
class At:
    """The case that a worker had begun, and what it had done and not yet written to its log, with that one."""

    case: Any
    pending: dict[str, Any]


class Slot:
    """Written over in place before each example. One write, so that a killed process leaves the old or the new."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def write(self, at: At) -> None:
        """Say what is begun now."""
        content = pickle.dumps((at.case, at.pending))
        os.pwrite(self._file, _HEADER.pack(len(content), zlib.crc32(content)) + content, 0)


def read_slot(path: Path) -> At | None:
    """Where the worker was when it died, if it had begun anything."""
    with contextlib.suppress(OSError, struct.error, EOFError, pickle.UnpicklingError):
        data = path.read_bytes()
        length, checksum = _HEADER.unpack_from(data)
        content = data[_HEADER.size : _HEADER.size + length]
        if zlib.crc32(content) == checksum:
            return At(*pickle.loads(content))
    return None
