"""Bugs in where each part of a tensor is, and in what is read of which part."""

from __future__ import annotations

from worlds import (
    ChunkSharding,
    EnumerableSharding,
    MeshSharding,
    ObjectEntry,
    Operation,
    Replicate,
    Scenario,
    Shard,
    TensorEntry,
    Tile,
)
from worlds.plans import Box, ChunkedShape, Comparison, Cut, Item, Merge, MeshLayout, Reads, Tiled
from worlds.training import Parallelism, Side, Training
from worlds.windows import Window

from ..bug import Bug, Change, Witness

__all__ = ["SHARDS"]

SHARDS = (
    Bug(
        "resharding-offset-off-by-one",
        "a resharding offset off by one",
        (
            Change(
                "resharding:_shards_get_overlap_region_wrt_saved_tensor",
                "offset_for_saved_tensor = current_shard_offset - saved_shard_offset",
                "offset_for_saved_tensor = max(0, current_shard_offset - saved_shard_offset - 1)",
            ),
        ),
        Witness("windows", Window((2,), offset=(1,))),
    ),
    Bug(
        "every-part-of-dtensor-recorded-at-its-beginning",
        "every part of a DTensor recorded at its beginning",
        (
            Change(
                "planner_helpers:_create_write_items_for_dtensor",
                "sizes, offsets = torch.Size(sizes), torch.Size(offsets)",
                "sizes, offsets = torch.Size(sizes), torch.Size([0] * len(offsets))",
            ),
        ),
        Witness(
            "round_trip",
            Scenario(entries=(TensorEntry("a", (2,), saved=MeshSharding((2,), (Shard(0),))),), save=Operation(2)),
        ),
    ),
    Bug(
        "placements-of-dtensor-taken-from-last-dim-of-its-mesh-to-first",
        "the placements of a DTensor taken from the last dim of its mesh to the first",
        (
            Change(
                "planner_helpers:_create_write_items_for_dtensor",
                "tensor.shape, tensor.device_mesh, tensor.placements",
                "tensor.shape, tensor.device_mesh, tuple(reversed(tensor.placements))",
            ),
        ),
        Witness(
            "round_trip",
            Scenario(
                entries=(TensorEntry("a", (2,), saved=MeshSharding((2, 2), (Shard(0), Replicate()))),),
                save=Operation(4),
            ),
        ),
    ),
    Bug(
        "dtensor-loaded-into-as-if-each-rank-had-its-beginning",
        "a DTensor loaded into as if each rank had its beginning",
        (
            Change(
                "planner_helpers:_create_chunk_from_dtensor",
                "sizes, offsets = torch.Size(sizes), torch.Size(offsets)",
                "sizes, offsets = torch.Size(sizes), torch.Size([0] * len(offsets))",
            ),
        ),
        Witness("training_state", Training(width=2, loaded=Side(parallelism=Parallelism(data=2)))),
    ),
    Bug(
        "first-local-shard-of-shardedtensor-saved-alone",
        "the first local shard of a ShardedTensor saved alone",
        (
            Change(
                "planner_helpers:_create_write_items",
                "for shard in object.local_shards()",
                "for shard in object.local_shards()[:1]",
            ),
        ),
        Witness("metadata", Scenario(entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 0))),))),
    ),
    Bug(
        "first-local-shard-of-shardedtensor-loaded-alone",
        "the first local shard of a ShardedTensor loaded alone",
        (
            Change(
                "planner_helpers:_create_chunk_list",
                "for shard in tensor.local_shards()",
                "for shard in tensor.local_shards()[:1]",
            ),
        ),
        Witness(
            "round_trip",
            Scenario(
                entries=(TensorEntry("a", (2, 2), saved=ChunkSharding(1, (0, 0)), loaded=ChunkSharding(1, (0, 0))),)
            ),
        ),
    ),
    Bug(
        "last-tile-of-checkpointable-tensor-left-out",
        "the last tile of a checkpointable tensor left out",
        (
            Change(
                "planner_helpers:_create_write_items",
                "return object.__create_write_items__(fqn, object)",
                ("return object.__create_write_items__(fqn, object)[: len(getattr(object, 'tiles', [0])) - 1 or 1]"),
            ),
        ),
        Witness(
            "round_trip",
            Scenario(
                entries=(
                    TensorEntry(
                        "a",
                        (2,),
                        saved=EnumerableSharding((Tile(0, (0,), (1,)), Tile(0, (1,), (1,))), holder="Checkpointable"),
                    ),
                )
            ),
        ),
    ),
    Bug(
        "active-chunk-dropped-too-early-from-sweep",
        "an active chunk dropped too early from the sweep",
        (
            Change(
                "planner_helpers:create_read_items_for_chunk_list",
                "bisect_right(active_saved, (local_start, -1))",
                "bisect_right(active_saved, (local_start + 1, 1 << 60))",
            ),
        ),
        Witness("read_items", Reads(wanted=(Box((), ()), Box((), ())))),
    ),
    Bug(
        "chunk-that-begins-where-another-ends-left-out-of-sweep",
        "a chunk that begins where another ends left out of the sweep",
        (
            Change(
                "planner_helpers:create_read_items_for_chunk_list",
                "if saved_start >= local_end:",
                "if saved_start >= local_end - 1 and saved_ptr:",
            ),
        ),
        Witness("metadata", Scenario(entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 0))),))),
    ),
    Bug(
        "offset-into-wanted-chunk-forgotten",
        "an offset into the wanted chunk forgotten",
        (
            Change(
                "resharding:_shards_get_overlap_region_wrt_saved_tensor",
                "offset_for_current_tensor = saved_shard_offset - current_shard_offset",
                "offset_for_current_tensor = 0",
            ),
        ),
        Witness("metadata", Scenario(entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 0))),))),
    ),
    Bug(
        "overlap-by-one-row-accepted",
        "an overlap by one row accepted",
        (
            Change(
                "torch.distributed._shard.sharding_spec._internals:_find_1d_overlapping_shards",
                "if intervals[i][1] >= intervals[i + 1][0]:",
                "if intervals[i][1] > intervals[i + 1][0]:",
            ),
        ),
        Witness("enumerable_spec", Tiled((3,), (Box((0,), (2,)), Box((0,), (1,))))),
    ),
    Bug(
        "rows-of-chunk-rounded-down",
        "the rows of a chunk rounded down",
        (
            Change(
                "torch.distributed._shard.sharding_spec.chunk_sharding_spec:ChunkShardingSpec.build_metadata",
                "split_size = get_split_size(sharding_dim_size, chunks)",
                "split_size = max(1, sharding_dim_size // chunks)",
            ),
        ),
        Witness("chunk_spec", ChunkedShape((555,), -1, 2)),
    ),
    Bug(
        "dim-sharded-twice-given-offset-of-last-alone",
        "a dim sharded twice given the offset of the last alone",
        (
            Change(
                "torch.distributed.tensor._utils:_get_shard_size_and_offsets",
                "return shard_size, previous_offsets[index]",
                "return shard_size, index",
            ),
        ),
        Witness("fully_sharded", MeshLayout((3,), (2, 2), (Cut(split=2), Cut()), ranks=(1,))),
        upstream="pytorch#161368",
    ),
    Bug(
        "offset-of-strided-shard-taken-from-its-second-row",
        "the offset of a strided shard taken from its second row",
        (
            Change(
                "torch.distributed.tensor._utils:_get_first_offset",
                "int(offsets[0])",
                "int(offsets[min(1, len(offsets) - 1)])",
            ),
        ),
        Witness("dtensor_offsets", MeshLayout((3,), (2,), (Cut(),))),
    ),
    Bug(
        "plain-value-dropped-where-sharded-tensors-are-flattened",
        "a plain value dropped where sharded tensors are flattened",
        (
            Change(
                "_sharded_tensor_utils:_flatten_sharded_tensors",
                "if not isinstance(value, ShardedTensor):",
                ("if value is None:\n            return\n        if not isinstance(value, ShardedTensor):"),
            ),
        ),
        Witness("round_trip", Scenario(entries=(ObjectEntry("a"),))),
    ),
    Bug(
        "chunks-that-are-not-compared",
        "chunks that are not compared",
        (Change("planner_helpers:_compare_save_plans", "or chunk.sizes != other_chunk.sizes", "or False"),),
        Witness(
            "comparison",
            Comparison(
                (Item(box=Box((0,), (1,)), shape=(2,)),),
                (Item(box=Box((0,), (2,)), shape=(2,)),),
                one_paths=(("a",),),
                other_paths=(("a",),),
            ),
        ),
    ),
    Bug(
        "new-plan-overlooked",
        "a new plan overlooked",
        (
            Change(
                "planner_helpers:_merge_delta_local_plans",
                "if delta_plan and not delta_plan.usable:",
                "if len(merged_plans) or not delta_plan.usable:",
            ),
        ),
        Witness("merge", Merge(5, (True, True))),
    ),
    Bug(
        "empty-shard-at-place-of-full-one",
        "an empty shard of a DTensor that is where another begins, which is dropped for it",
        (
            Change(
                "torch.distributed.tensor._utils:_get_shard_size_and_offsets",
                "return shard_size, torch.arange(zero_global_offset, zero_global_offset + 1)",
                "return shard_size, torch.arange(0, 1)",
            ),
        ),
        Witness("dtensor_offsets", MeshLayout((1,), (2,), (Cut(),), ranks=(1,))),
        upstream="pytorch#150862",
    ),
    Bug(
        "dtensor-of-local-size",
        "the size of a DTensor's part recorded as that of the whole",
        (
            Change(
                "planner_helpers:_create_write_items_for_dtensor", "size=tensor.size()", "size=tensor.to_local().size()"
            ),
        ),
        Witness(
            "round_trip",
            Scenario(entries=(TensorEntry("a", (2,), saved=MeshSharding((2,), (Shard(0),))),), save=Operation(2)),
        ),
    ),
    Bug(
        "shard-size-is-its-offset",
        "the offsets of a shard recorded as its sizes",
        (
            Change(
                "planner_helpers:_chunk_for_shard",
                "sizes=torch.Size(shard_md.shard_sizes)",
                "sizes=torch.Size(shard_md.shard_offsets)",
            ),
        ),
        Witness("round_trip", Scenario(entries=(TensorEntry("a", (1,), saved=ChunkSharding(0, (0, 0))),))),
    ),
    Bug(
        "sharded-tensor-of-float32",
        "every ShardedTensor recorded as float32",
        (Change("planner_helpers:_sharded_tensor_metadata", "dtype=shard_properties.dtype", "dtype=torch.float32"),),
        Witness(
            "round_trip", Scenario(entries=(TensorEntry("a", (1, 2), dtype="int32", saved=ChunkSharding(1, (0, 0))),))
        ),
    ),
    Bug(
        "read-one-element-less",
        "one element less read than overlaps",
        (
            Change(
                "planner_helpers:create_read_items_for_chunk_list",
                "lengths.append(length)",
                "lengths.append(max(1, length - 1))",
            ),
        ),
        Witness("windows", Window()),
    ),
    Bug(
        "read-into-first-chunk",
        "what is read put into the first chunk of a rank",
        (
            Change(
                "planner_helpers:create_read_items_for_chunk_list",
                "MetadataIndex(fqn, local_chunk.offsets, local_idx)",
                "MetadataIndex(fqn, local_chunks[0].offsets, 0)",
            ),
        ),
        Witness("read_items", Reads(wanted=(Box((), ()), Box((), ())))),
    ),
    Bug(
        "read-from-first-chunk",
        "what is read taken from the first chunk that was saved",
        (
            Change(
                "planner_helpers:create_read_items_for_chunk_list",
                "fqn, storage_chunk.offsets, storage_idx",
                "fqn, saved_chunks[0].offsets, 0",
            ),
        ),
        Witness("read_items", Reads(Tiled((5,), (Box((5,), (0,)), Box((0,), (5,)))), (Box((0,), (5,)),))),
    ),
    Bug(
        "scalars-not-read",
        "0-d tensors of which nothing is read",
        (
            Change(
                "planner_helpers:create_read_items_for_chunk_list", "local_bounds = [(0, 1)]", "local_bounds = [(0, 0)]"
            ),
        ),
        Witness("read_items", Reads()),
    ),
    Bug(
        "length-from-current-alone",
        "the length of an overlap counted from where the wanted chunk begins",
        (
            Change(
                "resharding:_shards_get_overlap_region_wrt_saved_tensor",
                "max(current_shard_offset, saved_shard_offset)",
                "current_shard_offset",
            ),
        ),
        Witness("metadata", Scenario(entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 0))),))),
    ),
    Bug(
        "overlap-to-the-later-end",
        "an overlap that ends where the later of two chunks does",
        (
            Change(
                "resharding:_shards_get_overlap_region_wrt_saved_tensor", "min_range_end = min(", "min_range_end = max("
            ),
        ),
        Witness("windows", Window((2,))),
    ),
    Bug(
        "overlap-of-first-dim",
        "an overlap looked for along the first dim alone",
        (
            Change(
                "resharding:_check_shard_metadata_pair_overlap",
                "ndims = len(shard1.offsets)",
                "ndims = min(1, len(shard1.offsets))",
            ),
        ),
        Witness(
            "read_items",
            Reads(
                Tiled((3, 3), (Box((0, 0), (3, 1)), Box((0, 1), (3, 1)), Box((0, 2), (3, 1)))), (Box((0, 0), (3, 1)),)
            ),
        ),
    ),
    Bug(
        "new-sizes-not-compared",
        "the sizes of tensors not compared with those that are cached",
        (Change("planner_helpers:_compare_save_plans", "if tensor_data.size != other_tensor_data.size:", "if False:"),),
        Witness(
            "comparison",
            Comparison(
                (Item(box=Box((0,), (1,)), shape=(1,)),),
                (Item(box=Box((0,), (1,)), shape=(2,)),),
                one_paths=(("a",),),
                other_paths=(("a",),),
            ),
        ),
    ),
    Bug(
        "new-types-not-compared",
        "the types of items not compared with those that are cached",
        (Change("planner_helpers:_compare_save_plans", "if plan_item.type != other_plan_item.type:", "if False:"),),
        Witness(
            "comparison",
            Comparison(
                (Item(box=Box((0,), (1,)), shape=(1,)),),
                (Item(box=Box((0,), (1,)), shape=(1,), shard=False),),
                one_paths=(("a",),),
                other_paths=(("a",),),
            ),
        ),
    ),
    Bug(
        "hint-trusted",
        "the hint at a shard trusted",
        (
            Change(
                "utils:_find_shard",
                ("\n            and torch.Size(shards[index.index].metadata.shard_offsets) == index.offset"),
                "",
            ),
        ),
        Witness(
            "round_trip",
            Scenario(entries=(TensorEntry("a", (2, 2), saved=ChunkSharding(1, (0, 1, 1))),), save=Operation(2)),
        ),
    ),
    Bug(
        "offset-by-own-size",
        "the offset of a chunk counted in its own rows",
        (
            Change(
                "torch.distributed._shard.sharding_spec.chunk_sharding_spec:ChunkShardingSpec.build_metadata",
                "split_size * idx  # type",
                "chunked_dim_size * idx  # type",
            ),
        ),
        Witness("chunk_spec", ChunkedShape((555,), -1, 2)),
    ),
    Bug(
        "last-chunk-as-long-as-others",
        "the last chunk as long as the others",
        (
            Change(
                "torch.distributed._shard.sharding_spec.chunk_sharding_spec:ChunkShardingSpec.build_metadata",
                "shard_size[self.dim] = chunked_dim_size",
                "shard_size[self.dim] = split_size",
            ),
        ),
        Witness("chunk_spec", ChunkedShape((555,), -1, 2)),
    ),
    Bug(
        "split-rounded-down",
        "the rows of a chunk rounded down, where they are computed",
        (
            Change(
                "torch.distributed._shard.sharding_spec._internals:get_split_size",
                "(dim_size + chunks - 1) // chunks",
                "max(1, dim_size // chunks)",
            ),
        ),
        Witness("chunk_spec", ChunkedShape((555,), -1, 2)),
    ),
    Bug(
        "dtensor-second-dim-not-cut",
        "a dim that is cut by two mesh dims cut by the first alone",
        (
            Change(
                "torch.distributed.tensor._utils:_compute_local_shape_and_global_offset",
                "local_shape[shard_dim] = shard_size",
                "local_shape[shard_dim] = shard_size if previous_offsets is None else local_shape[shard_dim]",
            ),
        ),
        Witness("dtensor_offsets", MeshLayout((2,), (1, 2), (Cut(), Cut()))),
    ),
    Bug(
        "dtensor-offset-one-too-far",
        "the offset of a part of a DTensor one too far",
        (
            Change(
                "torch.distributed.tensor._utils:_get_first_offset",
                "int(offsets[0])",
                "int(offsets[0]) + (int(offsets[0]) > 0)",
            ),
        ),
        Witness("dtensor_offsets", MeshLayout((5,), (5,), (Cut(),), ranks=(1,))),
    ),
)
