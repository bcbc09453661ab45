"""Bugs in where a sharding spec and a ``DTensor`` put each shard."""

from __future__ import annotations

from worlds import ChunkSharding, Scenario, TensorEntry
from worlds.plans import Box, ChunkedShape, Cut, MeshLayout, Tiled

from ..bug import Bug, Change, Witness

__all__ = ["LAYOUTS"]

LAYOUTS = (
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
        Witness("round_trip", Scenario(entries=(TensorEntry("a", (3,), loaded=ChunkSharding(0, (0, 0))),))),
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
        Witness("dtensor_offsets", MeshLayout((2,), placements=(Cut(),))),
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
        "offset-by-own-size",
        "the offset of a chunk counted in its own rows",
        (
            Change(
                "torch.distributed._shard.sharding_spec.chunk_sharding_spec:ChunkShardingSpec.build_metadata",
                "split_size * idx  # type",
                "chunked_dim_size * idx  # type",
            ),
        ),
        Witness("chunk_spec", ChunkedShape(chunks=2)),
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
        Witness("chunk_spec", ChunkedShape(chunks=2)),
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
        Witness("round_trip", Scenario(entries=(TensorEntry("a", (3,), loaded=ChunkSharding(0, (0, 0))),))),
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
        Witness("dtensor_offsets", MeshLayout((1,), (2,), (Cut(),), ranks=(1,))),
    ),
)
