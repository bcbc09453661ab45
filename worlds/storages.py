"""Storages under test: what each supports, and where the object is that makes its writers and readers.

A scenario names its storage. Nothing of a storage is imported before that, so that this module is plain data.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol

from .invalid import require
from .operations import WriterOptions
from .outcome import FileRecord

if TYPE_CHECKING:
    from torch.distributed.checkpoint import StorageReader, StorageWriter

__all__ = [
    "FILE_SYSTEM",
    "FORMATTED",
    "SAFETENSORS",
    "SERVED",
    "SHIPPED",
    "Limits",
    "Storage",
    "find_storage",
    "lies_open",
    "limits_of",
    "require_shared",
]

FILE_SYSTEM = "file_system"
"""The storage of a scenario that names none."""

SERVED = "served"
"""The one on a server of HTTP."""

FORMATTED = "file_system_safetensors"
"""The file system with its option for another format, of which no reader of torch's reads a tensor."""

SHIPPED = {
    FILE_SYSTEM: "worlds.backends:FileSystem",
    "fsspec": "worlds.backends:Fsspec",
    "memory": "worlds.backends:Memory",
    "reference": "worlds.backends:Reference",
    "bare": "worlds.backends:Bare",
    SERVED: "worlds.served:Served",
    "safetensors": "worlds.backends:Safetensors",
    "consolidated": "worlds.backends:Consolidated",
    "threaded": "worlds.backends:Threaded",
    "whole": "worlds.backends:Whole",
    "whole_consolidated": "worlds.backends:WholeConsolidated",
    FORMATTED: "worlds.backends:Formatted",
}
"""The storages that come with this project, by name: the module and the class of each."""

SAFETENSORS = ("safetensors", "consolidated", "threaded", "whole", "whole_consolidated")
"""Those of them that are files of safetensors, by the writer and the reader that torch has for those."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a storage supports; what is not said is supported."""

    dtypes: tuple[str, ...] | None = None
    """The dtypes that it can hold; ``None`` for all."""
    objects: bool = True
    """Whether it holds what is no tensor."""
    options: tuple[str, ...] | None = None
    """The fields of :class:`worlds.operations.WriterOptions` that its writer takes; ``None`` for all."""
    uncoordinated: bool = True
    """Whether ranks can save with ``use_collectives=False``."""
    stages: bool = True
    """Whether its writer is the stager of ``async_save`` where there is no other."""
    processes: bool = True
    """Whether one process finds what another has saved."""
    metadata: bool = True
    """Whether a new reader reads the metadata that the save returned, which say in which file each item is."""

    by_many: bool = True
    """Whether several ranks save; any number of them loads."""
    overwrites: bool = True
    """Whether a save may go to where another has been made, or begun."""

    def takes(self, option: str) -> bool:
        """Whether its writer has that option; one that ``FileSystemWriter`` has not only if it is listed."""
        if option == "file_indices":
            return self.options is not None and option in self.options
        return self.options is None or option in self.options


class Storage(Protocol):
    """A storage under test: one small object, of which each rank asks for a writer or a reader of its own."""

    limits: Limits = Limits()
    endpoint: str | None = None
    """The address of the server of HTTP below it, as ``http://127.0.0.1:9000``; ``None`` where requests cannot fail."""

    files: Literal["system", "fsspec"] | None = None
    """How it asks for its files, if as DCP's file system does or torch's of fsspec: then those operations can fail."""

    suffix: str | None = None
    """What the names of its files with data end with, if they lie below its path, so that they can be damaged."""

    found: tuple[Literal["save", "load"], ...] = ()
    """The calls for which DCP finds it by itself, where they name the checkpoint as :meth:`url` has it."""

    def url(self, path: str) -> str:
        """What names the checkpoint where nothing else names the storage."""
        return self.checkpoint_id(path)

    def at(self, endpoint: str) -> Storage:
        """The same storage, whose new writers and readers find the server at that address."""
        raise NotImplementedError

    def checkpoint_id(self, path: str) -> str:
        """What DCP is to call the checkpoint for which an example has the ``path``, in a directory of its own."""
        return path

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> StorageWriter:
        """A new writer, with those of the ``options`` that the storage takes."""

    def make_reader(self, checkpoint_id: str) -> StorageReader:
        """A new reader."""

    def list_files(self, checkpoint_id: str) -> tuple[FileRecord, ...] | None:
        """The files of the checkpoint in the order of their names, as its metadata call them; without its metadata.

        ``None`` where it cannot be told.
        """

    def clean_up(self, checkpoint_id: str) -> None:
        """Remove what is left of the checkpoint elsewhere than below its path, whether or not it was saved."""


@lru_cache(maxsize=64)
def find_storage(name: str) -> Storage:
    """The storage of that name, or ``module:name``; raises :class:`InvalidScenario` with one line if there is none."""
    if ":" in name:
        from .foreign import import_storage

        return import_storage(name)
    require(name in SHIPPED, f"there is no storage {name!r}, only {', '.join(SHIPPED)}, and module:name of your own")
    module, _, kind = SHIPPED[name].partition(":")
    made: Storage = getattr(import_module(module), kind)()
    return made


# A server that a storage runs in its own process is not in one that forks from it.
os.register_at_fork(after_in_child=find_storage.cache_clear)


def limits_of(name: str) -> Limits:
    """What the storage of that name supports; raises as above."""
    return find_storage(name).limits


def lies_open(name: str) -> bool:
    """Whether it is known which files below a path are a checkpoint's data, and that they are called as alone."""
    return name in SHIPPED and find_storage(name).suffix is not None


def require_shared(name: str) -> None:
    """Raise :class:`InvalidScenario` unless one process finds on that storage what another has saved."""
    require(limits_of(name).processes, f"{name} keeps what is saved in one process, and here each rank is one")
