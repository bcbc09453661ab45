"""Storages as their authors would write them: some that are right, and some that are not."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import SerializationFormat
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

__all__ = ["Dropping", "Immutable", "Incomplete", "Local", "Mistaken", "OfAnotherFormat", "Unready"]


class Local:
    """All of DCP's own, in another place than the example's: there must be nothing left of it."""

    limits = {"uncoordinated": False, "objects": False}

    def checkpoint_id(self, path: str) -> str:
        return f"{path}-own/checkpoint"

    def make_writer(self, checkpoint_id: str) -> Any:
        return dcp.FileSystemWriter(checkpoint_id, sync_files=False)

    def make_reader(self, checkpoint_id: str) -> Any:
        return dcp.FileSystemReader(checkpoint_id)

    def clean_up(self, checkpoint_id: str) -> None:
        shutil.rmtree(os.path.dirname(checkpoint_id), ignore_errors=True)


class _DroppingWriter(dcp.FileSystemWriter):
    def write_data(self, plan: Any, planner: Any) -> Any:
        plan.items[:] = plan.items[::2]
        return super().write_data(plan, planner)


class Dropping(Local):
    """Drops every second item."""

    def make_writer(self, checkpoint_id: str) -> Any:
        return _DroppingWriter(checkpoint_id, sync_files=False)


class Immutable(Local):
    """Takes no save to where something is, and says so."""

    limits = {"uncoordinated": False, "objects": False, "overwrites": False}

    def make_writer(self, checkpoint_id: str) -> Any:
        return dcp.FileSystemWriter(checkpoint_id, sync_files=False, overwrite=False)


class Incomplete:
    """Does not clean up."""

    def make_writer(self, checkpoint_id: str) -> Any:
        return dcp.FileSystemWriter(checkpoint_id)

    def make_reader(self, checkpoint_id: str) -> Any:
        return dcp.FileSystemReader(checkpoint_id)


class OfAnotherFormat(Local):
    """Files of the file system writer in its other format, read by torch's reader of that format."""

    def make_writer(self, checkpoint_id: str) -> Any:
        return dcp.FileSystemWriter(checkpoint_id, serialization_format=SerializationFormat.SAFETENSORS)

    def make_reader(self, checkpoint_id: str) -> Any:
        return HuggingFaceStorageReader(checkpoint_id)


class Mistaken(Local):
    """Declares what nobody asks."""

    limits = {"atomic": False}


class Unready(Local):
    """Its writer lacks what DCP calls."""

    def make_writer(self, checkpoint_id: str) -> Any:
        return object()
