"""Faults placed on the hooks of any storage and any planner, by replacing bound methods of the one object.

Those of operations on files are placed in the object that a writer or a reader of the file system asks for its files;
those of requests in a gateway between the rank and the server.

The object keeps its class, its other methods and the signatures that DCP inspects, and calls of its own methods from
within go through the fault too, as they would with a storage that fails there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, Literal

import torch

from .errors import fault_message, make_error
from .fail_files import FailingFiles
from .faults import Fault
from .gateway import Gateway
from .hooks import HOOKS
from .outcome import Hit
from .scenario import Scenario
from .storages import Storage, find_storage

__all__ = ["Hits", "Injection"]


class Hits(list[Hit]):
    """The faults that a rank reached; ``report`` is told of each at once, in case that the rank never ends."""

    def __init__(self, report: Callable[[Hit], None]) -> None:
        super().__init__()
        self._report = report

    def append(self, hit: Hit) -> None:
        super().append(hit)
        self._report(hit)

    def extend(self, hits: Iterable[Hit]) -> None:
        for hit in hits:
            self.append(hit)


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
        self._operation = operation
        self._gateway: Gateway | None = None
        self._raised: dict[str, None] = {}
        self._of_requests = [
            (index, fault)
            for index, fault in enumerate(scenario.request_faults)
            if fault.operation == operation and fault.rank == rank
        ]
        self._of_files = [
            (index, fault)
            for index, fault in enumerate(scenario.file_faults)
            if fault.operation == operation and fault.rank == rank
        ]

    def storage(self) -> Storage:
        """The scenario's storage, as this rank is to find it: by a gateway, where requests fail."""
        found = find_storage(self._scenario.storage)
        if not self._of_requests or found.endpoint is None:
            return found
        self._gateway = Gateway(found.endpoint, self._of_requests, self._reach_below)
        return found.at(self._gateway.url)

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
        if self._of_requests and prefix in ("writer", "reader"):
            for name in (hook for of, hook in HOOKS if of == self._operation and hook.startswith(f"{prefix}.")):
                method = name.removeprefix(f"{prefix}.")
                setattr(target, method, self._watched(getattr(target, method), name))

    def forget(self) -> None:
        """Take the tracebacks from the errors that were raised; to be called when all is recorded.

        A torch future holds its error where the garbage collector cannot see it. With the traceback of a frame that
        holds the future in turn, neither would ever go.
        """
        if self._gateway is not None:
            self._gateway.close()
            self._hits.extend(Hit(self._of_requests[0][0], raised=name) for name in self._raised)
        while self._errors:
            self._errors.pop().__traceback__ = None

    def _watched(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The hook, of which it is kept whether its last call has failed, itself or through its future."""

        @wraps(method)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._raised[name] = None
            result = method(*args, **kwargs)
            if isinstance(result, torch.futures.Future):
                result.wait()  # which is what DCP does next
            del self._raised[name]
            return result

        return watched

    def _reach_below(self, index: int) -> None:
        if all(hit.index != index for hit in self._hits):
            self._hits.append(Hit(index))

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
