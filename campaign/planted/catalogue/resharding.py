"""Bugs in what is read of which part of a tensor, and in where it is put."""

from __future__ import annotations

from worlds import ChunkSharding, Operation, Scenario, TensorEntry
from worlds.plans import Box, Reads, Tiled
from worlds.windows import Window

from ..bug import Bug, Change, Witness

__all__ = ["RESHARDING"]

RESHARDING = (
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
        "read-one-element-less",
        "one element less read than overlaps",
        (
            Change(
                "planner_helpers:create_read_items_for_chunk_list",
                "lengths.append(length)",
                "lengths.append(max(1, length - 1))",
            ),
        ),
        Witness("round_trip", Scenario((TensorEntry("a", (2,)),))),
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
            Reads(Tiled((1, 1), (Box((0, 0), (1, 1)), Box((0, 1), (1, 0)))), (Box((0, 0), (1, 0)),)),
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
)
