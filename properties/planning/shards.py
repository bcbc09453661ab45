"""Judges how tensors are cut and how that is checked: validation, ``ShardingSpec`` and ``DTensor``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.distributed._shard.metadata import ShardMetadata
from torch.distributed._shard.sharded_tensor.metadata import TensorProperties
from torch.distributed._shard.sharding_spec import ChunkShardingSpec, EnumerableShardingSpec
from torch.distributed.checkpoint import default_planner
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata
from torch.distributed.checkpoint.planner import SavePlan
from torch.distributed.tensor._utils import _compute_local_shape_and_global_offset
from torch.distributed.tensor.placement_types import Placement, Replicate, Shard, _StridedShard

from worlds.plans import Box, ChunkedShape, Cut, MeshLayout, Tiled, Validation, coordinate_of

from .breach import AcceptedWrong, PlanBreach, PlanRaised, RefusedRight, WrongOffsets, result_of
from .build import tensor_metadata, without_log
from .model import chunk_rows, index_of, index_right_to_left, is_box, tiling_defect

__all__ = [
    "expected_box",
    "judge_chunk_spec",
    "judge_enumerable_spec",
    "judge_fully_sharded",
    "judge_local_box",
    "judge_offsets",
    "judge_validation",
]


def judge_validation(case: Validation) -> Iterator[PlanBreach]:
    """``_validate_global_plan``: names each tensor whose chunks are no exact tiling of it, and no other."""
    names = [f"t{index}" for index in range(len(case.tensors))]
    entries = {name: tensor_metadata(tiled) for name, tiled in zip(names, case.tensors, strict=True)}
    metadata = Metadata({**entries, "object": BytesStorageMetadata()})
    plans = [SavePlan([]) for _ in range(case.plans)]
    with without_log():
        errors = result_of(lambda: default_planner._validate_global_plan(plans, metadata))
    defects = {name: tiling_defect(tiled) for name, tiled in zip(names, case.tensors, strict=True)}
    if isinstance(errors, Exception):
        if not any(defects.values()):
            yield PlanBreach(PlanRaised, f"validation: raised {type(errors).__name__}: {errors}", "no error", errors)
        return
    for (name, defect), tiled in zip(defects.items(), case.tensors, strict=True):
        said = [error for error in errors if error.startswith(f"key:{name} ")]
        if defect is not None and not said:
            yield PlanBreach(
                AcceptedWrong,
                f"validation: accepts {name!r}: {defect}",
                "an error",
                errors,
                tiled,
            )
        if defect is None and said:
            yield PlanBreach(
                RefusedRight,
                f"validation: refuses {name!r}: {said[0]}",
                "no error",
                said,
                tiled,
            )
    others = [error for error in errors if not error.startswith(tuple(f"key:{name} " for name in names))]
    if others:
        yield PlanBreach(RefusedRight, f"validation: refuses what is no tensor: {others[0]}", "no error", others)


def judge_chunk_spec(case: ChunkedShape) -> Iterator[PlanBreach]:
    """``ChunkShardingSpec.build_metadata``: the chunks of ``torch.chunk``, and empty ones at the end."""
    spec = ChunkShardingSpec(case.dim, [f"rank:{rank}/cpu" for rank in range(case.chunks)])
    metadata = result_of(lambda: spec.build_metadata(torch.Size(case.shape), TensorProperties()))
    dim = case.dim % len(case.shape)
    expected = []
    for start, size in chunk_rows(case.shape[dim], case.chunks):
        offsets, sizes = [0] * len(case.shape), list(case.shape)
        offsets[dim], sizes[dim] = start, size
        expected.append(Box(tuple(offsets), tuple(sizes)))
    if isinstance(metadata, Exception):
        yield PlanBreach(PlanRaised, f"chunk spec: raised {type(metadata).__name__}: {metadata}", expected, metadata)
        return
    seen = [Box(tuple(shard.shard_offsets), tuple(shard.shard_sizes)) for shard in metadata.shards_metadata]
    placed = [shard.placement and shard.placement.rank() for shard in metadata.shards_metadata]
    if tuple(metadata.size) != case.shape or placed != list(range(case.chunks)):
        yield PlanBreach(WrongOffsets, "chunk spec: another shape, or chunks on other ranks", case.shape, placed)
    if seen != expected:
        first = next((pair for pair in zip(expected, seen, strict=False) if pair[0] != pair[1]), (expected, seen))
        headline = f"chunk spec: {first[1]} where torch.chunk has {first[0]}"
        yield PlanBreach(WrongOffsets, headline, expected, seen, (expected, seen))


def judge_enumerable_spec(case: Tiled) -> Iterator[PlanBreach]:
    """``EnumerableShardingSpec``: accepts exact tilings of a shape, and refuses all else."""
    result = result_of(lambda: _enumerated(case))
    defect = tiling_defect(case)
    if isinstance(result, Exception):
        if not isinstance(result, ValueError):
            yield PlanBreach(PlanRaised, f"enumerable spec: raised {type(result).__name__}: {result}", defect, result)
        elif defect is None and case.boxes:  # none at all are refused, and documented to be
            yield PlanBreach(RefusedRight, f"enumerable spec: refuses a tiling: {result}", "no error", result)
    elif defect is not None:
        yield PlanBreach(AcceptedWrong, f"enumerable spec: accepts what is no tiling: {defect}", "ValueError", result)
    elif result != list(case.boxes):
        yield PlanBreach(WrongOffsets, "enumerable spec: has other shards than it was given", case.boxes, result)


def _enumerated(case: Tiled) -> list[Box]:
    shards = [ShardMetadata(list(box.offsets), list(box.sizes), "rank:0/cpu") for box in case.boxes]
    metadata = EnumerableShardingSpec(shards).build_metadata(torch.Size(case.shape), TensorProperties())
    return [Box(tuple(shard.shard_offsets), tuple(shard.shard_sizes)) for shard in metadata.shards_metadata]


def _placement(cut: Cut | None) -> Placement:
    if cut is None:
        return Replicate()
    return _StridedShard(cut.dim, split_factor=cut.split) if cut.split else Shard(cut.dim)


def _local_box(case: MeshLayout, rank: int) -> Box | Exception:
    """What DCP writes as the chunk of the rank, in the metadata and to find what to read."""
    placements = [_placement(cut) for cut in case.placements]
    coordinate = list(coordinate_of(rank, case.mesh))
    found = result_of(lambda: _compute_local_shape_and_global_offset(case.shape, case.mesh, coordinate, placements))
    return found if isinstance(found, Exception) else Box(tuple(found[1]), tuple(found[0]))


def expected_box(case: MeshLayout, index: Sequence[npt.NDArray[np.int64]]) -> Box:
    """The box of a rank's elements by their first one and their number; where there is none along a dim, at its end."""
    cut = {cut.dim for cut in case.placements if cut is not None}
    starts = [
        int(axis[0]) if len(axis) else (extent if dim in cut else 0)
        for dim, (axis, extent) in enumerate(zip(index, case.shape, strict=True))
    ]
    return Box(tuple(starts), tuple(map(len, index)))


def judge_offsets(case: MeshLayout) -> Iterator[PlanBreach]:
    """A rank's local shape, and where its first element is in the global tensor; where it has none, the end."""
    for rank in case.ranks:
        yield from _box_is(case, rank, expected_box(case, index_of(case, rank)))


def judge_fully_sharded(case: MeshLayout) -> Iterator[PlanBreach]:
    """What DCP takes for a rank's chunk is what FSDP on top of tensor parallelism gives to the rank."""
    for rank in case.ranks:
        yield from _box_is(case, rank, expected_box(case, index_right_to_left(case, rank)))


def _box_is(case: MeshLayout, rank: int, expected: Box) -> Iterator[PlanBreach]:
    seen = _local_box(case, rank)
    if isinstance(seen, Exception):
        headline = f"DTensor: raised {type(seen).__name__} for rank {rank}: {seen}"
        yield PlanBreach(PlanRaised, headline, expected, seen)
    elif seen != expected:
        yield PlanBreach(WrongOffsets, f"DTensor: rank {rank} is said to have {seen}", expected, seen, rank)


def judge_local_box(case: MeshLayout) -> Iterator[PlanBreach]:
    """The box that DCP takes for a rank's local tensor, to save and to load it, holds the same elements."""
    for rank in case.ranks:
        index = index_of(case, rank)
        seen = _local_box(case, rank)
        if isinstance(seen, Exception) or is_box(index) or not all(map(len, index)):
            continue  # where the elements are a box, it is the right one by the law on offsets
        headline = f"DTensor: rank {rank} is said to have {seen}, and its elements are no box"
        yield PlanBreach(WrongOffsets, headline, [axis.tolist() for axis in index], seen, index)
