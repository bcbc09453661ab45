"""Storages from elsewhere: an object of another package, found by ``module:name``, as a storage under test."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from torch.distributed.checkpoint import StorageReader, StorageWriter
from torch.distributed.checkpoint.staging import AsyncStager

from .fail_files import files_of
from .foreign_object import import_object, probed
from .hooks import HOOKS
from .invalid import require
from .operations import WriterOptions
from .outcome import FileRecord
from .storages import Limits, Storage

__all__ = ["import_storage"]

_NEEDED = ("make_writer", "make_reader", "clean_up")
_PROBE = "dcp-stress-probe"
"""The checkpoint id of a writer and a reader that are only looked at."""


def import_storage(name: str) -> Storage:
    """The storage ``module:name``; raises :class:`InvalidScenario`, with one line that says what is missing."""
    made = import_object(name, "storage")
    if Storage in type(made).__mro__:  # it is one already
        whole: Storage = made
        return whole
    missing = [method for method in _NEEDED if not callable(getattr(made, method, None))]
    require(not missing, f"the storage {name} lacks {' and '.join(missing)}")
    return _Foreign(name, made)


class _Foreign(Storage):
    """``made``, with what it leaves out: it supports what it says nothing of."""

    def __init__(self, name: str, made: Any) -> None:
        self._name = name
        self._made = made
        self._takes_options = len(inspect.signature(made.make_writer).parameters) > 1
        writer = _looked_at(name, "make_writer", lambda: self._new_writer(_PROBE, WriterOptions()), "writer.")
        _looked_at(name, "make_reader", lambda: made.make_reader(_PROBE), "reader.")
        self.files = files_of(getattr(writer, "fs", None))
        self.endpoint = getattr(made, "endpoint", None)
        if self.endpoint is not None:
            require(callable(getattr(made, "at", None)), f"the storage {name} has an endpoint, and lacks at")
        self.limits = _limits(name, made, takes_options=self._takes_options, stages=isinstance(writer, AsyncStager))

    def at(self, endpoint: str) -> Storage:
        return _Foreign(self._name, self._made.at(endpoint))

    def checkpoint_id(self, path: str) -> str:
        return str(self._made.checkpoint_id(path)) if hasattr(self._made, "checkpoint_id") else path

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> StorageWriter:
        return self._new_writer(checkpoint_id, options)

    def make_reader(self, checkpoint_id: str) -> StorageReader:
        reader: StorageReader = self._made.make_reader(checkpoint_id)
        return reader

    def list_files(self, checkpoint_id: str) -> tuple[FileRecord, ...] | None:
        if not hasattr(self._made, "list_files"):
            return None
        sizes: dict[str, int] = self._made.list_files(checkpoint_id)
        said = f"list_files of the storage {self._name} returns a {type(sizes).__name__}, not a dict of sizes by name"
        require(isinstance(sizes, dict), said)
        return tuple(FileRecord(name, size) for name, size in sorted(sizes.items()))

    def clean_up(self, checkpoint_id: str) -> None:
        self._made.clean_up(checkpoint_id)

    def _new_writer(self, checkpoint_id: str, options: WriterOptions) -> StorageWriter:
        arguments = (checkpoint_id, options) if self._takes_options else (checkpoint_id,)
        writer: StorageWriter = self._made.make_writer(*arguments)
        return writer


def _looked_at(name: str, method: str, make: Callable[[], Any], prefix: str) -> Any:
    """A writer or a reader, if it has every method that DCP calls."""
    hooks = dict.fromkeys(hook.removeprefix(prefix) for _, hook in HOOKS if hook.startswith(prefix))
    return probed(f"{method} of the storage {name}", make, hooks)


def _limits(name: str, made: Any, *, takes_options: bool, stages: bool) -> Limits:
    said = getattr(made, "limits", {})
    known = [field.name for field in fields(Limits)]
    if isinstance(said, Limits):
        said = {limit: getattr(said, limit) for limit in known}
    unknown = [limit for limit in said if limit not in known]
    require(not unknown, f"the storage {name} has limits that are none: {', '.join(unknown)}; {', '.join(known)} are")
    options = said.get("options") if takes_options or "options" in said else ()
    if options is None:  # what an extension has changed takes a reader that is told of it, which has to be said
        taken = [field.name for field in fields(WriterOptions) if Limits().takes(field.name)]
        options = tuple(name for name in taken if name != "extensions")
    return Limits(**{"stages": stages, **said, "options": options})
