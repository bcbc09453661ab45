"""The exceptions that the script raises where a rank is to fail, and the classes of those that Python does not have."""

from __future__ import annotations

from dataclasses import dataclass

from worlds.errors import make_error
from worlds.faults import Fault
from worlds.file_faults import FileFault
from worlds.request_faults import RequestFault

from .known import CannotWrite

__all__ = ["error_class", "error_expression", "error_repr", "fault_message", "file_error_repr"]


@dataclass(frozen=True)
class _Error:
    """``expression`` has the message's literal for ``{}``; ``source`` defines its class, where it needs one."""

    expression: str
    source: str = ""


_UNPICKLABLE = '''\
class Unpicklable(Exception):
    """As raised by a client that keeps its connection, and with it a lock, on the exception."""

    def __init__(self, message):
        super().__init__(message)
        self.connection = threading.Lock()'''
_UNUNPICKLABLE = '''\
class Ununpicklable(Exception):
    """As botocore's ClientError: it can be pickled, and not unpickled, since args do not fit __init__."""

    def __init__(self, message, operation):
        super().__init__(f"{message} in {operation}")'''
_STORAGE_ERROR = '''\
class StorageError(Exception):
    """As the SDKs of storages have them, with a field of its own."""

    def __init__(self, message, code):
        super().__init__(message, code)
        self.code = code'''
_STR_RAISES = '''\
class StrRaises(Exception):
    """An exception that cannot say what it is."""

    def __str__(self):
        raise RuntimeError("str() of the exception raised")'''
_WITH_CAUSE = f'''\
{_UNPICKLABLE}


def with_cause(message):
    """An exception whose cause cannot be pickled."""
    error = RuntimeError(message)
    error.__cause__ = Unpicklable("the cause")
    return error'''
_GROUP = '''\
def group_of_two(message):
    """What a storage raises that has tried in two ways."""
    return ExceptionGroup(message, [OSError(errno.EIO, "part 1"), ValueError("part 2")])'''

_ERRORS = {
    "OSError": _Error("OSError(errno.EIO, {})"),
    "PermissionError": _Error("PermissionError(errno.EPERM, {})"),
    "StorageError": _Error("StorageError({}, 503)", _STORAGE_ERROR),
    "ExceptionGroup": _Error("group_of_two({})", _GROUP),
    "Huge": _Error('RuntimeError({} + " " + "x" * 4_000_000)'),
    "CheckpointException": _Error("dcp.CheckpointException({}, {{}})"),
    "UnpicklableCause": _Error("with_cause({})", _WITH_CAUSE),
    "CancelledError": _Error("asyncio.CancelledError({})"),
    "StrRaises": _Error("StrRaises({})", _STR_RAISES),
    "Unpicklable": _Error("Unpicklable({})", _UNPICKLABLE),
    "Ununpicklable": _Error('Ununpicklable({}, "PutObject")', _UNUNPICKLABLE),
    **{
        name: _Error(f"{name}({{}})")
        for name in (
            "ValueError",
            "RuntimeError",
            "KeyError",
            "TimeoutError",
            "MemoryError",
            "StopIteration",
            "KeyboardInterrupt",
            "SystemExit",
        )
    },
}
_SHOWN = {
    "OSError": "OSError(5, {})",
    "PermissionError": "PermissionError(1, {})",
    "ExceptionGroup": "ExceptionGroup({}, [OSError(5, 'part 1'), ValueError('part 2')])",
    "UnpicklableCause": "RuntimeError({})",
    "CancelledError": "CancelledError({})",
}


def fault_message(fault: Fault | FileFault | RequestFault) -> str:
    """What the exception of ``fault`` says in the script; another thing for each fault of a rank."""
    method = fault.hook.split(".")[-1]
    later = isinstance(fault, Fault) and fault.through == "future"
    return f"{method} failed later" if later else f"{method} failed"


def error_expression(fault: Fault) -> str:
    """The expression that makes the exception."""
    return _error(fault).expression.format(f'"{fault_message(fault)}"')


def error_class(fault: Fault) -> str:
    """The definitions that the expression needs, or nothing."""
    return _error(fault).source


def error_repr(fault: Fault) -> str:
    """The ``repr`` of the exception; raises :class:`CannotWrite` for one whose ``repr`` is of no use."""
    if fault.error == "Huge":
        raise CannotWrite("there is no script that compares the exception Huge yet")
    return _SHOWN.get(fault.error, _error(fault).expression).format(f"'{fault_message(fault)}'").replace("dcp.", "")


def file_error_repr(fault: FileFault) -> str:
    """The ``repr`` of what the system raises; raises :class:`CannotWrite` where DCP or torch say something else."""
    if fault.call == "data.write" or (fault.operation == "load" and fault.call.startswith("metadata.")):
        raise CannotWrite(f"there is no script that compares the exception of {fault.call} yet")
    return repr(make_error(fault.error, fault_message(fault)))


def _error(fault: Fault) -> _Error:
    if fault.error not in _ERRORS:
        raise CannotWrite(f"there is no script for a scenario with the exception {fault.error!r} yet")
    return _ERRORS[fault.error]
