"""The classes of the storage that a script saves to and loads from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch.distributed.checkpoint as dcp

from worlds.backends import Consolidated, FileSystem, Formatted, Fsspec, Safetensors, Threaded, Whole, WholeConsolidated
from worlds.operations import WriterOptions
from worlds.storages import find_storage

from .known import CannotWrite

__all__ = ["Side", "StorageClass", "storage_class"]

Side = Literal["writer", "reader"]


@dataclass(frozen=True)
class StorageClass:
    """A writer or a reader: the class, and what it is given beside a path and the scenario's options."""

    base: Any
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The class as the script has it."""
        is_exported = getattr(dcp, self.base.__name__, None) is self.base
        return f"dcp.{self.base.__name__}" if is_exported else self.base.__name__


_ARGUMENTS: dict[type, tuple[str, ...]] = {
    FileSystem: (),
    Formatted: ("serialization_format=SerializationFormat.SAFETENSORS",),
    Fsspec: (),
    Safetensors: ("save_distributed=True",),
    Consolidated: ("save_distributed=True", "enable_consolidation=True"),
    Threaded: ("save_distributed=True",),
    Whole: (),
    WholeConsolidated: ("enable_consolidation=True",),
}
"""What the writers of the storages that a script can have are given."""


def storage_class(name: str, side: Side) -> StorageClass:
    """The class of that storage; raises :class:`CannotWrite` with one line where a script cannot have it."""
    storage = find_storage(name)
    if type(storage) not in _ARGUMENTS:
        if ":" in name:
            raise CannotWrite(f"a script needs torch alone, and the storage {name} is not torch's: replay it instead")
        raise CannotWrite(f"there is no script for a scenario on the storage {name!r} yet")
    if side == "reader":
        return StorageClass(type(storage.make_reader(".")), ("thread_count=2",) if type(storage) is Threaded else ())
    return StorageClass(type(storage.make_writer(".", WriterOptions())), _ARGUMENTS[type(storage)])
