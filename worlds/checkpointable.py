"""Tensors that are checkpointable by DCP's own protocols: they say which blocks of a global one they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import TensorWriteData, WriteItem, WriteItemType

from .invalid import require
from .parts import Box

__all__ = ["HAS_CHECKPOINTABLE_TENSOR", "Checkpointable", "is_checkpointable_tensor", "local_blocks", "with_blocks"]

HAS_CHECKPOINTABLE_TENSOR = hasattr(dcp, "CheckpointableTensor")
"""Whether the installed torch knows plain tensors with ``global_shape`` and its like, which it does from 2.15 on."""


def with_blocks(local: torch.Tensor, shape: Sequence[int], placed: Sequence[Box], boxes: Sequence[Box]) -> torch.Tensor:
    """``local`` with the attributes of a ``CheckpointableTensor``: the blocks ``placed`` in it are those ``boxes``.

    ``shape`` is that of the global tensor. Raises :class:`worlds.InvalidScenario` where torch knows no such tensors.
    """
    require(HAS_CHECKPOINTABLE_TENSOR, "this torch has no CheckpointableTensor: it takes torch 2.15 or later")
    tensor: Any = local
    tensor.global_shape = tuple(shape)
    tensor.global_offsets = tuple(box.offsets for box in boxes)
    tensor.local_offsets = tuple(box.offsets for box in placed)
    tensor.local_sizes = tuple(box.sizes for box in placed)
    return local


def is_checkpointable_tensor(tensor: torch.Tensor) -> bool:
    """Whether it has those attributes."""
    return hasattr(tensor, "global_shape")


def local_blocks(tensor: Any) -> list[torch.Tensor]:
    """The blocks in a ``CheckpointableTensor``, as views of it."""
    places = zip(tensor.local_offsets, tensor.local_sizes, strict=True)
    return [
        tensor[tuple(slice(start, start + size) for start, size in zip(offsets, sizes, strict=True))]
        for offsets, sizes in places
    ]


class Checkpointable(torch.Tensor):
    """A tensor of the global shape that consists of local blocks; see ``torch.distributed._checkpointable``."""

    tiles: list[torch.Tensor]
    boxes: list[Box]

    @staticmethod
    def __new__(
        cls, shape: Sequence[int], dtype: torch.dtype, tiles: Sequence[torch.Tensor], boxes: Sequence[Box]
    ) -> Checkpointable:
        """A tensor of that global ``shape`` which holds ``tiles``, each at its place in ``boxes``."""
        device = tiles[0].device if tiles else torch.device("cpu")
        tensor = torch.Tensor._make_wrapper_subclass(cls, tuple(shape), dtype=dtype, device=device)
        assert isinstance(tensor, Checkpointable)
        tensor.tiles = list(tiles)
        tensor.boxes = list(boxes)
        return tensor

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Whatever makes one tensor of one makes it tile by tile; nothing else is done with such a tensor."""
        if func not in _TILE_BY_TILE:
            raise NotImplementedError(f"{func} of a checkpointable tensor")
        tensor = args[0]
        tiles = [func(tile, *_TILE_BY_TILE[func](tile, args[1:]), **(kwargs or {})) for tile in tensor.tiles]
        return cls(tensor.shape, tensor.dtype, tiles, tensor.boxes)

    def __create_write_items__(self, fqn: str, tensor: Any) -> list[WriteItem]:
        """One item for each block."""
        properties = TensorProperties(dtype=self.dtype)
        return [
            WriteItem(
                index=MetadataIndex(fqn, chunk.offsets),
                type=WriteItemType.SHARD,
                tensor_data=TensorWriteData(chunk=chunk, properties=properties, size=tensor.size()),
            )
            for chunk in self.__create_chunk_list__()
        ]

    def __create_chunk_list__(self) -> list[ChunkStorageMetadata]:
        """The blocks."""
        return [ChunkStorageMetadata(torch.Size(box.offsets), torch.Size(box.sizes)) for box in self.boxes]

    def __get_tensor_shard__(self, index: MetadataIndex) -> torch.Tensor:
        """The block that begins where ``index`` says."""
        for box, tile in zip(self.boxes, self.tiles, strict=True):
            if torch.Size(box.offsets) == index.offset:
                return tile
        raise ValueError(f"no block at {index.offset} of {index.fqn!r}")


def _as_given(_: torch.Tensor, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return args


def _of_the_tile(tile: torch.Tensor, _: tuple[Any, ...]) -> tuple[Any, ...]:
    return (tile.shape,)


_TILE_BY_TILE: dict[Any, Callable[[torch.Tensor, tuple[Any, ...]], tuple[Any, ...]]] = {
    torch.ops.aten.detach.default: _as_given,
    torch.ops.aten.clone.default: _as_given,
    torch.ops.aten._to_copy.default: _as_given,
    torch.ops.aten.zeros_like.default: _as_given,
    torch.ops.aten.new_empty.default: _of_the_tile,
}
"""The operators, with the arguments that each tile gets."""
