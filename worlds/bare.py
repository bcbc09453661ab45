"""The reference storage, with what DCP's abstract classes demand of a writer and a reader, and nothing more.

No attribute that DCP asks for if it is there, as ``checkpoint_id``, and no keyword argument, as ``rank``, that it gives
to those alone which take it: as storages were written before there were any.
"""

from __future__ import annotations

from typing import Any

from torch.distributed.checkpoint import (
    LoadPlan,
    LoadPlanner,
    Metadata,
    SavePlan,
    SavePlanner,
    StorageReader,
    StorageWriter,
)
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from .reference import ReferenceReader, ReferenceWriter

__all__ = ["BareReader", "BareWriter"]


class _End:
    """What a writer and a reader have in common."""

    def __init__(self, checkpoint_id: str) -> None:
        self._writer = ReferenceWriter(checkpoint_id)
        self._reader = ReferenceReader(checkpoint_id)

    def reset(self, checkpoint_id: Any = None) -> None:
        self._writer.reset(checkpoint_id)
        self._reader.reset(checkpoint_id)

    def prepare_local_plan(self, plan: Any) -> Any:
        return plan

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return isinstance(checkpoint_id, str)


class BareWriter(_End, StorageWriter):
    """Writes as the reference does."""

    def set_up_storage_writer(self, is_coordinator: bool) -> None:
        """Nothing."""

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        return self._writer.prepare_global_plan(plans)

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        return self._writer.write_data(plan, planner)

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        self._writer.finish(metadata, results)


class BareReader(_End, StorageReader):
    """Reads as the reference does."""

    def read_metadata(self) -> Metadata:
        return self._reader.read_metadata()

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool) -> None:
        self._reader.set_up_storage_reader(metadata, is_coordinator)

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        return self._reader.read_data(plan, planner)
