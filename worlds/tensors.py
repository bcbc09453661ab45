"""Makes the tensor of an entry as a rank holds it, and finds the local tensors in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.distributed._shard import sharded_tensor
from torch.distributed._shard.sharded_tensor import ShardedTensor
from torch.distributed._shard.sharding_spec import (
    ChunkShardingSpec,
    EnumerableShardingSpec,
    ShardingSpec,
    ShardMetadata,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor import Replicate as TorchReplicate
from torch.distributed.tensor import Shard as TorchShard
from torch.distributed.tensor._dtensor_spec import DTensorSpec, TensorMeta
from torch.distributed.tensor.placement_types import Placement as TorchPlacement
from torch.distributed.tensor.placement_types import _StridedShard as TorchStridedShard

from .accelerator import torch_device
from .checkpointable import Checkpointable, is_checkpointable_tensor, local_blocks, with_blocks
from .dtypes import DTYPES
from .entries import TensorEntry
from .layouts import (
    ChunkSharding,
    EnumerableSharding,
    Layout,
    MeshSharding,
    Placement,
    Plain,
    Shard,
    StridedShard,
)
from .operations import Operation
from .parts import Box, Part

__all__ = ["local_tensors", "make_tensor"]

Fill = Callable[[Part], torch.Tensor]
"""Makes the local tensor that holds a part."""
Join = Callable[[Sequence[torch.Tensor], Sequence[Box], Sequence[int]], torch.Tensor]
"""Makes one tensor, of the shape that comes last, with these tensors in these places, and padding elsewhere."""


def make_tensor(
    entry: TensorEntry, layout: Layout, operation: Operation, rank: int, group: Any, fill: Fill, join: Join
) -> torch.Tensor:
    """The tensor as ``rank`` of the process group ``group`` holds it, made of what ``fill`` and ``join`` make."""
    parts = layout.parts(entry.shape, rank)
    match layout:
        case Plain():
            return fill(parts[0])
        case MeshSharding():
            return _make_dtensor(entry, layout, operation, parts, fill)
        case EnumerableSharding(tiles, "Checkpointable"):
            boxes = [tile.box for tile in tiles if tile.rank == rank]
            return Checkpointable(entry.shape, DTYPES[entry.dtype], list(map(fill, parts)), boxes)
        case EnumerableSharding(tiles, "CheckpointableTensor"):
            boxes = [tile.box for tile in tiles if tile.rank == rank]
            shape, placed = layout.local_boxes(entry.shape, rank)
            return with_blocks(join(list(map(fill, parts)), placed, shape), entry.shape, placed, boxes)
        case ChunkSharding() | EnumerableSharding():
            spec = _spec(layout, operation.members)
            tensor = sharded_tensor.empty(spec, *entry.shape, dtype=DTYPES[entry.dtype], process_group=group)
            # In the spec's order, which is the layout's. Where torch puts an empty chunk is its own affair (a known
            # issue: outside the tensor); it has no content.
            for shard, part in zip(tensor.local_shards(), parts, strict=True):
                shard.tensor = fill(part)
            return tensor


def local_tensors(tensor: torch.Tensor) -> tuple[str, list[torch.Tensor]]:
    """What kind of tensor it is, and the local tensors that hold its content."""
    if isinstance(tensor, ShardedTensor):
        return "ShardedTensor", [shard.tensor for shard in tensor.local_shards()]
    if isinstance(tensor, DTensor):
        local = tensor.to_local()
        return "DTensor", [local] if tensor.device_mesh.get_coordinate() is not None else []
    if isinstance(tensor, Checkpointable):
        return "Checkpointable", tensor.tiles
    if is_checkpointable_tensor(tensor):
        return "CheckpointableTensor", local_blocks(tensor)
    return "Tensor", [tensor]


@lru_cache(maxsize=256)
def _spec(layout: ChunkSharding | EnumerableSharding, members: tuple[int, ...]) -> ShardingSpec:
    """torch's own spec; parsing the placements takes long, and nothing changes a spec."""

    def place(rank: int) -> str:
        return f"rank:{members[rank] if members else rank}/{torch_device(layout.device)}"

    if isinstance(layout, ChunkSharding):
        return ChunkShardingSpec(layout.dim, [place(rank) for rank in layout.ranks])
    return EnumerableShardingSpec(
        [ShardMetadata(list(tile.offsets), list(tile.sizes), place(tile.rank)) for tile in layout.tiles]
    )


def _make_dtensor(
    entry: TensorEntry, layout: MeshSharding, operation: Operation, parts: Sequence[Part], fill: Fill
) -> DTensor:
    ranks = torch.tensor([operation.global_rank(rank) for rank in layout.mesh_ranks]).view(layout.mesh)
    # Saving and loading need no process groups of the mesh's own; to make them costs more than all else.
    on = torch_device(layout.device)
    mesh = DeviceMesh(on.type, ranks, _init_backend=False)
    dtype = DTYPES[entry.dtype]
    device = torch.device("meta") if layout.memory == "meta" else on
    local = fill(parts[0]) if parts else torch.empty(0, dtype=dtype, device=device)
    # From the spec, as distribute_tensor() and FSDP2 do it: from_local() gets a 0-d tensor's shape wrong on ranks that
    # are not in the mesh.
    stride = torch.empty(entry.shape, device="meta").stride()
    meta = TensorMeta(torch.Size(entry.shape), stride, dtype)
    spec = DTensorSpec(mesh, tuple(map(_placement, layout.placements)), tensor_meta=meta)
    return DTensor(local, spec, requires_grad=local.requires_grad)


def _placement(placement: Placement) -> TorchPlacement:
    match placement:
        case Shard(dim):
            return TorchShard(dim)
        case StridedShard(dim, factor):
            return TorchStridedShard(dim, split_factor=factor)
    return TorchReplicate()
