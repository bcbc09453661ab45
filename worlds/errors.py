"""The exceptions that a fault raises: what real storages raise, and what is hard to send to another rank."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable

__all__ = [
    "ERRORS",
    "FILE_ERRORS",
    "NEVER_ARRIVES",
    "NOT_AN_EXCEPTION",
    "RAISES_NOTHING",
    "fault_message",
    "make_error",
]


class StorageError(Exception):
    """As SDKs have them: fields of its own, and pickling done right."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.code = code


class Unpicklable(Exception):
    """As raised by clients that keep their connection, with its lock, on the exception."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.connection = threading.Lock()


class Ununpicklable(Exception):
    """Can be pickled and not unpickled: ``args`` does not fit ``__init__``, as with botocore's ``ClientError``."""

    def __init__(self, message: str, operation: str) -> None:
        super().__init__(f"{message} in {operation}")


class StrRaises(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("str() of the exception raised")


def _with_unpicklable_cause(message: str) -> BaseException:
    error = RuntimeError(message)
    error.__cause__ = Unpicklable("the cause")
    return error


def _checkpoint_exception(message: str) -> BaseException:
    from torch.distributed.checkpoint.api import CheckpointException

    return CheckpointException(message, {})


ERRORS: dict[str, Callable[[str], BaseException]] = {
    "OSError": lambda message: OSError(errno.EIO, message),
    "ValueError": ValueError,
    "RuntimeError": RuntimeError,
    "KeyError": KeyError,
    "TimeoutError": TimeoutError,
    "PermissionError": lambda message: PermissionError(errno.EPERM, message),
    "MemoryError": MemoryError,
    "StopIteration": StopIteration,
    "StorageError": lambda message: StorageError(message, 503),
    "ExceptionGroup": lambda message: ExceptionGroup(message, [OSError(errno.EIO, "part 1"), ValueError("part 2")]),
    "Huge": lambda message: RuntimeError(message + " " + "x" * 4_000_000),
    "CheckpointException": _checkpoint_exception,
    "UnpicklableCause": _with_unpicklable_cause,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
    "CancelledError": asyncio.CancelledError,
    "StrRaises": StrRaises,
    "Unpicklable": Unpicklable,
    "Ununpicklable": lambda message: Ununpicklable(message, "PutObject"),
}
"""Name to constructor, the plainest first; the message tells one fault from another."""

NEVER_ARRIVES = frozenset({"Unpicklable", "Ununpicklable"})
"""The errors that pickle cannot carry to another rank."""

NOT_AN_EXCEPTION = frozenset({"CheckpointException", "KeyboardInterrupt", "SystemExit", "CancelledError"})
"""The errors that ``except Exception`` does not catch."""


FILE_ERRORS = ("EIO", "ENOSPC", "EPERM", "short", "full", "lost")
"""What an operation on files fails with; see :class:`worlds.file_faults.FileFault`."""

RAISES_NOTHING = frozenset({"short", "lost"})
"""Those of them of which nobody is told."""


def make_error(name: str, message: str) -> BaseException:
    """A new exception of that name, as one of :data:`ERRORS`, or what the system raises of :data:`FILE_ERRORS`."""
    if name in ERRORS:
        return ERRORS[name](message)
    return OSError(getattr(errno, "ENOSPC" if name == "full" else name), message)


def fault_message(index: int) -> str:
    """What the exception says that the fault of that number, in ``Scenario.all_faults``, raises."""
    return f"injected fault {index}"
