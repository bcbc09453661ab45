"""Plain data to what DCP's planning functions take, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.checkpoint.default_planner import logger
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import ReadItem, SavePlan, TensorWriteData, WriteItem, WriteItemType

from worlds.plans import Box, Item, Tiled

from .model import Read

__all__ = [
    "ShardedTarget",
    "box_of",
    "chunk",
    "item_of",
    "read_of",
    "save_plan",
    "storage_metadata",
    "tensor_metadata",
    "without_log",
    "write_item",
]


def chunk(box: Box) -> ChunkStorageMetadata:
    """As DCP's metadata has it."""
    return ChunkStorageMetadata(torch.Size(box.offsets), torch.Size(box.sizes))


def box_of(chunk: ChunkStorageMetadata) -> Box:
    """The inverse of :func:`chunk`."""
    return Box(tuple(chunk.offsets), tuple(chunk.sizes))


def tensor_metadata(tiled: Tiled) -> TensorStorageMetadata:
    """The metadata of a tensor that is saved in those chunks."""
    return TensorStorageMetadata(TensorProperties(), torch.Size(tiled.shape), [chunk(box) for box in tiled.boxes])


def write_item(item: Item) -> WriteItem:
    """The item as DCP makes it for a tensor, a shard or an object."""
    if item.box is None:
        return WriteItem(MetadataIndex(item.fqn), WriteItemType.BYTE_IO)
    kind = WriteItemType.SHARD if item.shard else WriteItemType.TENSOR
    properties = TensorProperties(dtype=getattr(torch, item.dtype))
    data = TensorWriteData(chunk(item.box), properties, torch.Size(item.shape))
    return WriteItem(MetadataIndex(item.fqn, item.box.offsets), kind, tensor_data=data)


def item_of(item: WriteItem) -> Item:
    """The inverse of :func:`write_item`."""
    data = item.tensor_data
    if data is None:
        return Item(item.index.fqn)
    assert data.chunk is not None
    dtype = str(data.properties.dtype).removeprefix("torch.")
    return Item(item.index.fqn, box_of(data.chunk), tuple(data.size), dtype, item.type == WriteItemType.SHARD)


def save_plan(items: Sequence[Item], planner_data: Any = None) -> SavePlan:
    """A rank's local plan."""
    return SavePlan([write_item(item) for item in items], planner_data=planner_data)


def read_of(item: ReadItem) -> Read:
    """A read item as plain data."""
    return Read(
        tuple(item.dest_index.offset or ()),
        item.dest_index.index,
        tuple(item.dest_offsets),
        tuple(item.storage_index.offset or ()),
        item.storage_index.index,
        tuple(item.storage_offsets),
        tuple(item.lengths),
    )


@contextmanager
def without_log() -> Iterator[None]:
    """Inside, the planner does not log what it refuses: the verdict says so."""
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was


class ShardedTarget:
    """Stands in a state dict for a sharded tensor, as any class may by DCP's protocol for its own."""

    def __init__(self, shape: Sequence[int], boxes: Sequence[Box]) -> None:
        self._shape = torch.Size(shape)
        self._boxes = boxes

    def size(self) -> torch.Size:
        """The global shape."""
        return self._shape

    def __create_chunk_list__(self) -> list[ChunkStorageMetadata]:
        return [chunk(box) for box in self._boxes]


def storage_metadata(tiled: Tiled | None) -> TensorStorageMetadata | BytesStorageMetadata:
    """The metadata of a tensor, or of an object where there is none."""
    return BytesStorageMetadata() if tiled is None else tensor_metadata(tiled)
