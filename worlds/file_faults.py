"""Operations on files that fail, below the file system storage: where, and with what, as plain data.

The places are what ``FileSystemWriter`` and ``FileSystemReader`` of ``torch.distributed.checkpoint.filesystem`` ask of
the system, as torch 2.13 has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from .concise import Concise
from .errors import FILE_ERRORS
from .hooks import Hook
from .invalid import require

__all__ = ["FILE_CALLS", "UNWRITTEN", "FileFault", "file_errors"]

_SAVE = {
    "directory.mkdir": Hook("storage", "mkdir", "plan", "rank", 51),
    "metadata.exists": Hook("storage", "exists", "plan", "rank", 52),
    "data.open": Hook("storage", "open", "write", "rank", 30, per_item=True),
    "data.seek": Hook("storage", "seek", "write", "rank", 31, per_item=True),
    "data.write": Hook("storage", "write", "write", "rank", 31, per_item=True),
    "data.fsync": Hook("storage", "fsync", "write", "rank", 31, per_item=True),
    "data.close": Hook("storage", "close", "write", "rank", 31, per_item=True),
    "metadata.open": Hook("storage", "open", "write", "coordinator", 11),
    "metadata.write": Hook("storage", "write", "write", "coordinator", 12),
    "metadata.fsync": Hook("storage", "fsync", "write", "coordinator", 12),
    "metadata.close": Hook("storage", "close", "write", "coordinator", 12),
    "metadata.remove": Hook("storage", "remove", "write", "coordinator", 14),
    "metadata.rename": Hook("storage", "rename", "write", "coordinator", 15),
}
_LOAD = {
    "metadata.open": Hook("storage", "open", "plan", "rank", 10),
    "metadata.read": Hook("storage", "read", "plan", "rank", 11),
    "metadata.close": Hook("storage", "close", "plan", "rank", 11),
    "data.open": Hook("storage", "open", "read", "rank", 30, per_item=True),
    "data.seek": Hook("storage", "seek", "read", "rank", 31, per_item=True),
    "data.read": Hook("storage", "read", "read", "rank", 31, per_item=True),
    "data.close": Hook("storage", "close", "read", "rank", 31, per_item=True),
}

FILE_CALLS: dict[tuple[str, str], Hook] = {
    **{("save", name): hook for name, hook in _SAVE.items()},
    **{("load", name): hook for name, hook in _LOAD.items()},
}
"""The operations on files that can fail in a save or a load: of which file, and what.

To tell where one is in a file counts to ``seek``, and to flush a buffer to ``write``, as the system has them. A step is
ten times that of :mod:`worlds.hooks`; of an open file all steps are one, since it is closed, and its buffer written,
after whatever else has failed, and if that fails too, Python reports it in the place of what came before.
"""

UNWRITTEN = "rest.remove"
"""An operation beside those: fsspec's file system, alone, removes a file that could not be written, and may fail at
that too."""

_REMOVES_UNWRITTEN = Hook("storage", "remove", "write", "rank", 31, per_item=True)
_EXISTS_AT_THE_END = Hook("storage", "exists", "write", "coordinator", 13)


@dataclass(frozen=True, repr=False)
class FileFault(Concise):
    """An operation on files that fails on one rank: the call ``skip`` of that ``call``, counted from 0.

    ``call`` is one of :data:`FILE_CALLS`, such as ``"data.write"``, or :data:`UNWRITTEN`, and is counted over all of
    the rank's files of that kind and all of its threads; ``error`` is one of :data:`worlds.errors.FILE_ERRORS`:

    - the name of an ``errno``: the call does nothing and raises that
    - ``"short"``: a read or a write does a part of what it is asked for, says so, and nothing is wrong
    - ``"full"``: a write does a part, and each later one raises ``ENOSPC``, as on a disk that has become full
    - ``"lost"``: an fsync does its work, and what is written to that file after it is lost once the file is closed, as
      where the power fails when all is done
    """

    _positional: ClassVar[int] = 4

    operation: Literal["save", "load"]
    rank: int
    call: str
    error: str = "EIO"
    skip: int = 0

    def __post_init__(self) -> None:
        known = (self.operation, self.call) in FILE_CALLS or (self.operation, self.call) == ("save", UNWRITTEN)
        require(known, f"a {self.operation} has no operation {self.call!r} on files")
        allowed = file_errors(self.call)
        require(self.error in allowed, f"{self.call!r} fails with {', '.join(allowed)}, not {self.error!r}")
        require(self.skip >= 0, f"a count of calls is negative: {self.skip}")

    @property
    def hook(self) -> str:
        """What the place is called, as that of a :class:`worlds.faults.Fault`."""
        return self.call

    @property
    def is_of_fsspec(self) -> bool:
        """Whether fsspec has such an operation, and it can fail so."""
        return self.error.isupper() and not self.call.endswith(".fsync")

    @property
    def is_of_system(self) -> bool:
        """Whether DCP's own files have such an operation."""
        return self.call != UNWRITTEN

    @property
    def place(self) -> Hook:
        """What is known of the place, as of a hook."""
        if self.call == UNWRITTEN:
            return _REMOVES_UNWRITTEN
        if self.call == "metadata.exists" and self.skip:  # asked for once in the plan, and once when all is written
            return _EXISTS_AT_THE_END
        return FILE_CALLS[self.operation, self.call]


def file_errors(call: str) -> tuple[str, ...]:
    """What that operation on files can fail with."""
    method = call.rpartition(".")[2]
    special = {"read": ("short",), "write": ("short", "full"), "fsync": ("lost",)}.get(method, ())
    return tuple(error for error in FILE_ERRORS if error.isupper() or error in special)
