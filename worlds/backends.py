"""The storages that torch ships, and the reference storage, as storages under test."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import SerializationFormat
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from .bare import BareReader, BareWriter
from .extensions import make_extensions, registry
from .operations import WriterOptions
from .outcome import FileRecord
from .reference import CHECKPOINTS, Checkpoint, ReferenceReader, ReferenceWriter
from .safetensors_files import SUFFIX
from .storages import Limits, Storage

__all__ = [
    "FSSPEC",
    "SAFETENSORS_DTYPES",
    "Bare",
    "Consolidated",
    "FileSystem",
    "Formatted",
    "Fsspec",
    "Memory",
    "Reference",
    "Safetensors",
    "Threaded",
    "Whole",
    "WholeConsolidated",
]

# Before torch 2.15 it had a name that begins with an underscore, which warns there.
_MODULES = ("torch.distributed.checkpoint.fsspec_filesystem", "torch.distributed.checkpoint._fsspec_filesystem")
FSSPEC = next(name for name in _MODULES if find_spec(name) is not None)
"""The module of torch that has the writer and the reader of fsspec."""
_fsspec: Any = import_module(FSSPEC)
_memory: Any = import_module("fsspec").filesystem("memory")

SAFETENSORS_DTYPES = (
    *("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
    *("uint16", "uint32", "uint64", "complex64"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
)
"""The dtypes that safetensors 0.8 can write and read."""

_NOT_OF_FSSPEC = ("cache_staged_state_dict", "file_indices")
_OF_FSSPEC = tuple(field.name for field in fields(WriterOptions) if field.name not in _NOT_OF_FSSPEC)


class FileSystem(Storage):
    """``FileSystemWriter`` with every option, and ``FileSystemReader``."""

    files: Literal["system", "fsspec"] | None = "system"
    suffix: str | None = ".distcp"
    found: tuple[Literal["save", "load"], ...] = ("save", "load")

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> dcp.StorageWriter:
        return dcp.FileSystemWriter(checkpoint_id, **self._options(options))

    def make_reader(self, checkpoint_id: str) -> dcp.StorageReader:
        return dcp.FileSystemReader(checkpoint_id, _extension_registry=registry())

    def list_files(self, checkpoint_id: str) -> tuple[FileRecord, ...]:
        """Without the metadata, which say the path, so that their size differs."""
        found = []
        for directory, _, names in os.walk(checkpoint_id):
            for name in names:
                if name.endswith(".metadata"):
                    continue
                file = os.path.join(directory, name)
                found.append(FileRecord(os.path.relpath(file, checkpoint_id), os.stat(file).st_size))
        return tuple(sorted(found, key=lambda file: file.name))

    def clean_up(self, checkpoint_id: str) -> None:
        """All is below the path."""

    def _options(self, options: WriterOptions) -> dict[str, Any]:
        names = (field.name for field in fields(options) if self.limits.takes(field.name))
        taken = {name: getattr(options, name) for name in names}
        extensions = make_extensions(taken.pop("extensions"))
        return {**taken, "_extensions": extensions}


class Formatted(FileSystem):
    """The same with ``serialization_format=SerializationFormat.SAFETENSORS``: what each file has of tensors is such."""

    limits = Limits(dtypes=SAFETENSORS_DTYPES)
    suffix = None  # no reader of torch's reads a tensor of them, damaged or not
    found = ()

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> dcp.StorageWriter:
        return dcp.FileSystemWriter(
            checkpoint_id, **self._options(options), serialization_format=SerializationFormat.SAFETENSORS
        )


class Fsspec(FileSystem):
    """``FsspecWriter`` and ``FsspecReader`` on local files."""

    limits = Limits(options=_OF_FSSPEC)
    files = "fsspec"

    def url(self, path: str) -> str:
        """With what makes it no path of the file system."""
        return f"file://{path}"

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> dcp.StorageWriter:
        writer: dcp.StorageWriter = _fsspec.FsspecWriter(checkpoint_id, **self._options(options))
        return writer

    def make_reader(self, checkpoint_id: str) -> dcp.StorageReader:
        reader: dcp.StorageReader = _fsspec.FsspecReader(checkpoint_id)  # which takes no registry
        return reader


class Memory(Fsspec):
    """``FsspecWriter`` and ``FsspecReader`` on ``memory://``, a store that a process has and that is one for all of it.

    Without ``sync_files``: where a file has no descriptor, as here, torch 2.13 makes the system write out all that it
    has for any disk (pytorch/pytorch#183878). So does the writer that DCP finds for such a path, which is not found
    here.
    """

    limits = Limits(options=tuple(name for name in _OF_FSSPEC if name != "sync_files"), processes=False)
    suffix = None
    found = ("load",)

    def checkpoint_id(self, path: str) -> str:
        return f"memory://{path}"

    def url(self, path: str) -> str:
        """The same: every call names it so."""
        return self.checkpoint_id(path)

    def list_files(self, checkpoint_id: str) -> tuple[FileRecord, ...]:
        """Without the metadata."""
        start = f"{_memory._strip_protocol(checkpoint_id)}/"
        sizes = _memory.du(checkpoint_id, total=False)
        found = (FileRecord(name.removeprefix(start), size) for name, size in sorted(sizes.items()))
        return tuple(file for file in found if not file.name.endswith(".metadata"))

    def clean_up(self, checkpoint_id: str) -> None:
        """With the directories that it is in, which it may have made, once they are empty."""
        if _memory.exists(checkpoint_id):
            _memory.rm(checkpoint_id, recursive=True)
        directory = _memory._strip_protocol(checkpoint_id).rpartition("/")[0]
        while directory and not (_memory.exists(directory) and _memory.ls(directory)):
            if _memory.exists(directory):
                _memory.rmdir(directory)
            directory = directory.rpartition("/")[0]


class Reference(Storage):
    """The storage in memory of :mod:`worlds.reference`, for ranks that share a process."""

    limits = Limits(options=(), uncoordinated=False, stages=False, processes=False)

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> dcp.StorageWriter:
        return ReferenceWriter(checkpoint_id)

    def make_reader(self, checkpoint_id: str) -> dcp.StorageReader:
        return ReferenceReader(checkpoint_id)

    def list_files(self, checkpoint_id: str) -> tuple[FileRecord, ...]:
        files = CHECKPOINTS.get(checkpoint_id, Checkpoint()).files
        return tuple(FileRecord(name, len(content)) for name, content in sorted(files.items()))

    def clean_up(self, checkpoint_id: str) -> None:
        CHECKPOINTS.pop(checkpoint_id, None)


class Bare(Reference):
    """The same, with a writer and a reader that have what DCP demands and nothing else (:mod:`worlds.bare`)."""

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> dcp.StorageWriter:
        return BareWriter(checkpoint_id)

    def make_reader(self, checkpoint_id: str) -> dcp.StorageReader:
        return BareReader(checkpoint_id)


class Safetensors(FileSystem):
    """``HuggingFaceStorageWriter``, by which each rank writes a file of safetensors, and ``HuggingFaceStorageReader``.

    The writer leaves no metadata, and the reader makes them up from what the files say. As many threads make one file
    of the ranks' as write those.
    """

    limits = Limits(
        dtypes=SAFETENSORS_DTYPES, options=("thread_count", "file_indices"), uncoordinated=False, metadata=False
    )
    files = None  # it asks for others than DCP's
    suffix = SUFFIX
    found = ()
    consolidates = False
    is_distributed = True

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> dcp.StorageWriter:
        return HuggingFaceStorageWriter(
            checkpoint_id,
            fqn_to_index_mapping=dict(options.file_indices) or None,
            thread_count=options.thread_count,
            save_distributed=self.is_distributed,
            enable_consolidation=self.consolidates,
            thread_count_consolidation=options.thread_count,
        )

    def make_reader(self, checkpoint_id: str) -> dcp.StorageReader:
        return HuggingFaceStorageReader(checkpoint_id)


class Consolidated(Safetensors):
    """Both, where the writer has made one file of those and the reader reads it."""

    consolidates = True


class Threaded(Safetensors):
    """The same files, which the reader reads in two threads where there are several."""

    def make_reader(self, checkpoint_id: str) -> dcp.StorageReader:
        return HuggingFaceStorageReader(checkpoint_id, thread_count=2)


class Whole(Safetensors):
    """``HuggingFaceStorageWriter`` as it is by default, by which one rank saves all, with a list of what is where."""

    limits = replace(Safetensors.limits, by_many=False)
    is_distributed = False


class WholeConsolidated(Whole):
    """The same, with ``enable_consolidation``, where there is nothing to make one file of."""

    consolidates = True
