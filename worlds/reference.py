"""A storage in memory that keeps to DCP's protocol of storages and to nothing else: what every storage can be held to.

All that it has to do is on the page of ``dcp-stress contract``. Every byte of a checkpoint lies open in
:data:`CHECKPOINTS`. A checkpoint is there as a whole, or not at all: an item is written under a name that no earlier
save has, and what :meth:`ReferenceWriter.finish` publishes in one step takes the place of what was there.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.distributed.checkpoint import (
    LoadPlan,
    LoadPlanner,
    Metadata,
    SavePlan,
    SavePlanner,
    StorageReader,
    StorageWriter,
)
from torch.distributed.checkpoint.planner import LoadItemType, WriteItem, WriteItemType
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

__all__ = ["CHECKPOINTS", "Checkpoint", "ReferenceReader", "ReferenceWriter"]


@dataclass
class Checkpoint:
    """Everything that is kept under one checkpoint id: ``files`` by name, and the metadata once it is finished."""

    files: dict[str, bytes] = field(default_factory=dict)
    metadata: bytes | None = None


CHECKPOINTS: dict[str, Checkpoint] = {}
"""What is kept, by checkpoint id."""


@dataclass(frozen=True)
class Place:
    """Where an item is: the metadata of a checkpoint have one for each."""

    relative_path: str
    offset: int
    length: int


class _End:
    """What a writer and a reader have in common."""

    def __init__(self, checkpoint_id: str) -> None:
        self.checkpoint_id = checkpoint_id

    def reset(self, checkpoint_id: Any = None) -> None:
        if checkpoint_id is not None:
            self.checkpoint_id = str(checkpoint_id)

    def prepare_local_plan(self, plan: Any) -> Any:
        return plan

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return isinstance(checkpoint_id, str)


class ReferenceWriter(_End, StorageWriter):
    """Writes a file for each item, as soon as the planner has given its content."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing: whoever publishes is told by being asked to."""

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Each rank writes under a name of its own, and each save under other names than the one before."""
        before = CHECKPOINTS.get(self.checkpoint_id, Checkpoint()).files
        save = 1 + max((int(name.split("/")[0]) for name in before), default=-1)
        return [replace(plan, storage_data=f"{save}/{rank}") for rank, plan in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        files = CHECKPOINTS.setdefault(self.checkpoint_id, Checkpoint()).files
        results = []
        for number, item in enumerate(plan.items):
            place = Place(f"{plan.storage_data}/{number}", 0, len(content := _content(item, planner)))
            files[place.relative_path] = content
            results.append(WriteResult(item.index, place.length, place))
        return _done(results)

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        metadata.storage_data = {result.index: result.storage_data for of_rank in results for result in of_rank}
        checkpoint = CHECKPOINTS.setdefault(self.checkpoint_id, Checkpoint())
        names = {place.relative_path for place in metadata.storage_data.values()}
        files = {name: content for name, content in checkpoint.files.items() if name in names}
        CHECKPOINTS[self.checkpoint_id] = Checkpoint(files, pickle.dumps(metadata))


class ReferenceReader(_End, StorageReader):
    """Reads each item where the metadata say that it is."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        checkpoint = CHECKPOINTS.get(self.checkpoint_id)
        if checkpoint is None or checkpoint.metadata is None:
            raise FileNotFoundError(f"there is no checkpoint {self.checkpoint_id}")
        metadata: Metadata = pickle.loads(checkpoint.metadata)
        return metadata

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        self._places = metadata.storage_data

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        for item in plan.items:
            place = self._places[item.storage_index]
            content = CHECKPOINTS[self.checkpoint_id].files[place.relative_path]
            stream = io.BytesIO(content[place.offset : place.offset + place.length])
            if item.type == LoadItemType.BYTE_IO:
                planner.load_bytes(item, stream)
                continue
            box = tuple(map(_slice, item.storage_offsets, item.lengths))
            target = planner.resolve_tensor(item).detach()
            target.copy_(torch.load(stream, map_location="cpu", weights_only=True)[box])
            planner.commit_tensor(item, target)
        return _done(None)


def _content(item: WriteItem, planner: SavePlanner) -> bytes:
    """The content of an object, or of a tensor, which may be a view of a larger one, or elsewhere than on the CPU."""
    data: Any = planner.resolve_data(item)
    if item.type == WriteItemType.BYTE_IO:
        return bytes(data.getvalue())
    stream = io.BytesIO()
    torch.save(data.detach().cpu().clone(), stream)
    return stream.getvalue()


def _slice(start: int, length: int) -> slice:
    return slice(start, start + length)


def _done(value: Any) -> Future[Any]:
    done: Future[Any] = Future()
    done.set_result(value)
    return done
