"""Where a shard is: as torch.chunk cuts, dim by dim, and nowhere else."""

from __future__ import annotations

from hypothesis import given

from properties.planning.check import check_plan, examples
from properties.planning.shards import judge_chunk_spec, judge_fully_sharded, judge_local_box, judge_offsets
from properties.sharding import sharded
from strategies.mesh_layouts import fully_sharded_layouts, mesh_layouts
from strategies.plans import chunked_shapes
from worlds.plans import ChunkedShape, MeshLayout


@sharded
@examples(0.5)
@given(case=chunked_shapes())
def test_chunk_spec(shard: int, case: ChunkedShape) -> None:
    """A ChunkShardingSpec cuts as torch.chunk does, and what it has too many are empty, at the end."""
    check_plan(judge_chunk_spec, case)


@sharded
@examples(1)
@given(case=mesh_layouts())
def test_dtensor_offsets(shard: int, case: MeshLayout) -> None:
    """A DTensor's local shape and offset are those of an index that is cut dim by dim."""
    check_plan(judge_offsets, case)


@sharded
@examples(0.5)
@given(case=fully_sharded_layouts())
def test_fully_sharded(shard: int, case: MeshLayout) -> None:
    """What a DTensor's chunk says is where FSDP on top of tensor parallelism puts its rows."""
    check_plan(judge_fully_sharded, case)


@sharded
@examples(0.5)
@given(case=mesh_layouts())
def test_dtensor_box(shard: int, case: MeshLayout) -> None:
    """What a DTensor's chunk says that a rank has is what it has."""
    check_plan(judge_local_box, case)
