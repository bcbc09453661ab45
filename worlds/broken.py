"""Four storages that are broken on purpose, to see what is said of one: ``--storage=worlds.broken:Dropping``.

Each is the reference storage with one defect of a kind that storages really have.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch.distributed.checkpoint import Metadata, SavePlan, SavePlanner, StorageWriter
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from .backends import Reference
from .operations import WriterOptions
from .reference import CHECKPOINTS, Checkpoint, ReferenceWriter

__all__ = ["Acknowledging", "Dropping", "Keeping", "Misnaming"]

_EACH = 1000
"""Bytes, of which one is dropped."""


class Dropping(Reference):
    """Drops every 1,000th byte of what it writes."""

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> StorageWriter:
        return _DroppingWriter(checkpoint_id)


class _DroppingWriter(ReferenceWriter):
    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        written = super().write_data(plan, planner)
        files = CHECKPOINTS[self.checkpoint_id].files
        for result in written.wait():
            content = bytearray(files[result.storage_data.relative_path])
            del content[_EACH - 1 :: _EACH]
            files[result.storage_data.relative_path] = bytes(content)
        return written


class Acknowledging(Reference):
    """Says that all is written, and writes it when it is next called, as one that flushes a buffer at the end."""

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> StorageWriter:
        return _AcknowledgingWriter(checkpoint_id)


class _AcknowledgingWriter(ReferenceWriter):
    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        written = super().write_data(plan, planner)
        files = CHECKPOINTS[self.checkpoint_id].files
        names = [result.storage_data.relative_path for result in written.wait()]
        self._buffer = {name: files.pop(name) for name in names}
        return written

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """On the coordinator alone: nobody asks the other ranks once more."""
        CHECKPOINTS[self.checkpoint_id].files.update(self._buffer)
        super().finish(metadata, results)


@dataclass
class _Unfinished(Checkpoint):
    """What was written of a checkpoint, and what failed meanwhile."""

    errors: list[Exception] = field(default_factory=list)


class Misnaming(Reference):
    """Keeps what fails on any rank for the end, where it is raised on the coordinator, which then is named for it."""

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> StorageWriter:
        return _MisnamingWriter(checkpoint_id)


class _MisnamingWriter(ReferenceWriter):
    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        earlier = CHECKPOINTS.get(self.checkpoint_id, Checkpoint())
        if not isinstance(earlier, _Unfinished):
            CHECKPOINTS[self.checkpoint_id] = _Unfinished(earlier.files, earlier.metadata)
        try:
            return super().write_data(plan, planner)
        except Exception as error:
            _errors(self.checkpoint_id).append(error)
            nothing: Future[list[WriteResult]] = Future()
            nothing.set_result([])
            return nothing

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        for error in _errors(self.checkpoint_id):
            raise error
        super().finish(metadata, results)


def _errors(checkpoint_id: str) -> list[Exception]:
    checkpoint = CHECKPOINTS[checkpoint_id]
    assert isinstance(checkpoint, _Unfinished)
    return checkpoint.errors


class Keeping(Reference):
    """Writes no file again that is there, by the names that every save gives: the first save to a checkpoint stays."""

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> StorageWriter:
        return _KeepingWriter(checkpoint_id)


class _KeepingWriter(ReferenceWriter):
    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        return [replace(plan, storage_data=str(rank)) for rank, plan in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        files = CHECKPOINTS.setdefault(self.checkpoint_id, Checkpoint()).files
        before = dict(files)
        written = super().write_data(plan, planner)
        files.update(before)
        return written
