"""Bugs in what is saved and loaded of a sharded tensor, and in what is recorded of its shards."""

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
from worlds.training import Parallelism, Side, Training

from ..bug import Bug, Change, Witness

__all__ = ["SHARDS"]

_PADDED = EnumerableSharding((Tile(0, (0,), (1,)),), "CheckpointableTensor", padded=True)

SHARDS = (
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
        "checkpointable-tensor-read-from-its-beginning",
        "a part of a CheckpointableTensor taken from the beginning of the local tensor",
        (
            Change(
                "protocol:_get_checkpointable_tensor_shard",
                "slice(offset, offset + size)",
                "slice(0, size)",
                since=(2, 15),
            ),
        ),
        Witness("round_trip", Scenario(entries=(TensorEntry("a", (1,), saved=_PADDED),))),
    ),
    Bug(
        "checkpointable-tensor-by-number",
        "a part of a CheckpointableTensor found by its number alone",
        (
            Change(
                "protocol:_get_checkpointable_tensor_shard",
                "and torch.Size(tensor.global_offsets[index.index]) == index.offset",
                "",
                since=(2, 15),
            ),
        ),
        Witness(
            "round_trip",
            Scenario(
                entries=(
                    TensorEntry(
                        "a",
                        (3,),
                        saved=EnumerableSharding(
                            (Tile(0, (0,), (1,)), Tile(1, (1,), (1,)), Tile(1, (2,), (1,))), "CheckpointableTensor"
                        ),
                    ),
                ),
                save=Operation(2),
            ),
        ),
    ),
    Bug(
        "checkpointable-tensor-of-local-size",
        "the size of a CheckpointableTensor's local tensor compared with that of the whole in the checkpoint",
        (
            Change(
                "default_planner:create_default_local_load_plan",
                "torch.Size(obj.global_shape)",
                "obj.size()",
                since=(2, 15),
            ),
        ),
        Witness("round_trip", Scenario(entries=(TensorEntry("a", (1,), loaded=_PADDED),))),
    ),
)
