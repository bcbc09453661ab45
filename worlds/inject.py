"""Faults placed on the hooks of any storage and any planner, by replacing bound methods of the one object.

Those of operations on files are placed in the object that a writer or a reader of the file system asks for its files.

The object keeps its class, its other methods and the signatures that DCP inspects, and calls of its own methods from
within go through the fault too, as they would with a storage that fails there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Literal

import torch

from .errors import fault_message, make_error
from .fail_files import FailingFiles
from .faults import Fault
from .outcome import Hit
from .scenario import Scenario

__all__ = ["Injection"]


class Injection:
    """The faults of one rank in one operation, and which of them were reached; made in the rank's own thread."""

    def __init__(self, scenario: Scenario, operation: Literal["save", "load"], rank: int, hits: list[Hit]) -> None:
        self._scenario = scenario
        self._hits = hits
        self._thread = threading.get_ident()
        self._errors: list[BaseException] = []
        self._faults = [
            (index, fault)
            for index, fault in enumerate(scenario.faults)
            if fault.operation == operation and fault.rank == rank
        ]
        self._of_files = [
            (index, fault)
            for index, fault in enumerate(scenario.file_faults)
            if fault.operation == operation and fault.rank == rank
        ]

    def place(self, prefix: Literal["writer", "reader", "planner", "stateful"], target: Any) -> None:
        """Make the hooks ``prefix.*`` of ``target`` fail as the scenario says."""
        by_method: dict[str, list[tuple[int, Fault]]] = {}
        for index, fault in self._faults:
            owner, method = fault.hook.split(".")
            if owner == prefix:
                by_method.setdefault(method, []).append((index, fault))
        for method, faults in by_method.items():
            setattr(target, method, self._failing(getattr(target, method), faults))
        if self._of_files and prefix in ("writer", "reader"):
            FailingFiles(self._of_files, self._reach, self._make_error).place(target.fs)

    def forget(self) -> None:
        """Take the tracebacks from the errors that were raised; to be called when all is recorded.

        A torch future holds its error where the garbage collector cannot see it. With the traceback of a frame that
        holds the future in turn, neither would ever go.
        """
        while self._errors:
            self._errors.pop().__traceback__ = None

    def _failing(self, method: Callable[..., Any], faults: Sequence[tuple[int, Fault]]) -> Callable[..., Any]:
        in_call = next((index for index, fault in faults if fault.through == "call"), None)
        in_future = next((index for index, fault in faults if fault.through == "future"), None)

        @wraps(method)
        def failing(*args: Any, **kwargs: Any) -> Any:
            if in_call is not None:
                raise self._error(in_call)
            result = method(*args, **kwargs)
            return result if in_future is None else _failed(result, self._error(in_future))

        return failing

    def _error(self, index: int) -> BaseException:
        self._hits.append(Hit(index, thread=threading.get_ident() != self._thread))
        return self._make_error(index)

    def _reach(self, index: int) -> None:
        """An operation on files fails, and perhaps not for the first time by that fault."""
        if all(hit.index != index for hit in self._hits):
            self._hits.append(Hit(index, thread=threading.get_ident() != self._thread))

    def _make_error(self, index: int) -> BaseException:
        error = make_error(self._scenario.all_faults[index].error, fault_message(index))
        self._errors.append(error)
        return error


class _FutureOfNoException(torch.futures.Future[Any]):
    """A future that raises what torch's own refuses to hold: what is no ``Exception``."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error
        self.set_result(None)

    def wait(self) -> Any:
        raise self._error

    def value(self) -> Any:
        raise self._error


def _failed(future: torch.futures.Future[Any], error: BaseException) -> torch.futures.Future[Any]:
    """A future for the one that the hook returned, whose work is done and came to nothing."""
    future.wait()
    if not isinstance(error, Exception):
        return _FutureOfNoException(error)
    failed: torch.futures.Future[Any] = torch.futures.Future()
    failed.set_exception(error)
    return failed
