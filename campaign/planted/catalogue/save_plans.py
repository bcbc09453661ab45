"""Bugs in what is planned to be saved, and in what the metadata say of it."""

from __future__ import annotations

from worlds import ChunkSharding, MeshSharding, Nested, ObjectEntry, Operation, Plain, Scenario, Shard, TensorEntry
from worlds.plans import Box, Held, Item, Plans, Tiled, Validation
from worlds.rebuilding import Rebuilding
from worlds.training import Training
from worlds.windows import Window

from ..bug import Bug, Change, Witness

__all__ = ["SAVE_PLANS"]

SAVE_PLANS = (
    Bug(
        "dropped-write-item",
        "a dropped write item",
        (
            Change(
                "default_planner:create_default_local_save_plan",
                "return SavePlan(requests)",
                "return SavePlan(requests[1:])",
            ),
        ),
        Witness("round_trip", Scenario((TensorEntry("a"),))),
    ),
    Bug(
        "item-kept-on-every-rank-but-first",
        "an item kept on every rank but the first",
        (
            Change(
                "_dedup_save_plans:dedup_save_plans",
                "for plan_idx in plan_indices - {select_plan_idx}:",
                "for plan_idx in list(plan_indices - {select_plan_idx})[:1]:",
            ),
        ),
        Witness("dedup", Plans(3, (Held(Item()),))),
    ),
    Bug(
        "highest-rank-and-not-lowest",
        "the highest rank and not the lowest",
        (
            Change(
                "_dedup_save_plans:dedup_save_plans",
                "select_plan_idx = min(plan_indices)",
                "select_plan_idx = max(plan_indices)",
            ),
        ),
        Witness("dedup", Plans(2, (Held(Item()),), lowest=True)),
    ),
    Bug(
        "index-hint-one-too-high",
        "an index hint one too high",
        (
            Change(
                "default_planner:create_default_global_save_plan",
                "index=len(tensor_md.chunks)",
                "index=len(tensor_md.chunks) + (len(all_plans) > 1)",
            ),
        ),
        Witness("global_plan", Plans(2, (Held(Item(box=Box((), ()))),))),
    ),
    Bug(
        "overlaps-looked-for-among-neighbours-alone",
        "overlaps looked for among neighbours alone",
        (
            Change(
                "default_planner:_validate_global_plan",
                "for _, other_idx in active:",
                "for _, other_idx in active[-1:]:",
            ),
        ),
        Witness(
            "validation", Validation((Tiled((3, 2), (Box((0, 0), (3, 1)), Box((0, 1), (2, 1)), Box((1, 1), (1, 1)))),))
        ),
    ),
    Bug(
        "chunks-that-touch-taken-for-overlap",
        "chunks that touch taken for an overlap",
        (
            Change(
                "default_planner:_check_box_overlap",
                "if box0.offsets[i] >= box1.offsets[i] + box1.sizes[i]:",
                "if box0.offsets[i] > box1.offsets[i] + box1.sizes[i]:",
            ),
        ),
        Witness("round_trip", Scenario(entries=(TensorEntry("a", (1, 2), saved=ChunkSharding(0, (0, 0))),))),
    ),
    Bug(
        "objects-of-coordinator-alone",
        "objects that only the coordinator saves",
        (
            Change(
                "default_planner:create_default_local_save_plan",
                "            requests += _create_write_items(fqn, obj)\n\n",
                (
                    "            if isinstance(obj, torch.Tensor) or is_coordinator:\n"
                    "                requests += _create_write_items(fqn, obj)\n"
                    "\n"
                ),
            ),
        ),
        Witness("round_trip", Scenario(entries=(ObjectEntry("a", saved=Plain((1,))),), save=Operation(2))),
        upstream="pytorch#125334",
    ),
    Bug(
        "tensors-of-coordinator-alone",
        "plain tensors that only the coordinator saves",
        (
            Change(
                "default_planner:create_default_local_save_plan",
                "            requests += _create_write_items(fqn, obj)\n\n",
                (
                    "            if is_coordinator or hasattr(obj, 'local_shards') or not isinstance(obj, "
                    "torch.Tensor):\n"
                    "                requests += _create_write_items(fqn, obj)\n"
                    "\n"
                ),
            ),
        ),
        Witness("round_trip", Scenario(entries=(TensorEntry("a", saved=Plain((1,))),), save=Operation(2))),
        upstream="pytorch#106415",
    ),
    Bug(
        "item-planned-twice",
        "the last item planned twice",
        (
            Change(
                "default_planner:create_default_local_save_plan",
                "return SavePlan(requests)",
                "return SavePlan(requests + requests[-1:])",
            ),
        ),
        Witness("training_state", Training()),
    ),
    Bug(
        "save-plan-outside-of-mesh",
        "a DTensor planned by ranks outside of its mesh at save",
        (
            Change(
                "default_planner:create_default_local_save_plan",
                "if obj.device_mesh.get_coordinate() is not None:",
                "if True:",
            ),
        ),
        Witness(
            "round_trip",
            Scenario(
                entries=(TensorEntry("a", (1,), saved=MeshSharding((1,), (Shard(0),), ranks=(1,))),), save=Operation(2)
            ),
        ),
    ),
    Bug(
        "chunks-in-reverse",
        "chunks put into the metadata in reverse, so that hints point elsewhere",
        (
            Change(
                "default_planner:create_default_global_save_plan",
                "tensor_md.chunks.append(item.tensor_data.chunk)",
                "tensor_md.chunks.insert(0, item.tensor_data.chunk)",
            ),
        ),
        Witness(
            "global_plan",
            Plans(
                held=(Held(Item(box=Box((0,), (1,)), shape=(1,))), Held(Item(box=Box((1,), (0,)), shape=(1,)))),
            ),
        ),
    ),
    Bug(
        "size-of-first-chunk",
        "the size of the first chunk recorded as that of the tensor",
        (
            Change(
                "default_planner:create_default_global_save_plan",
                "size=item.tensor_data.size",
                "size=item.tensor_data.chunk.sizes",
            ),
        ),
        Witness("metadata", Scenario(entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 0))),))),
    ),
    Bug(
        "objects-not-in-metadata",
        "objects left out of the metadata",
        (
            Change(
                "default_planner:create_default_global_save_plan", "md[item.index.fqn] = BytesStorageMetadata()", "pass"
            ),
        ),
        Witness("round_trip", Scenario((ObjectEntry("a"),))),
    ),
    Bug(
        "paths-of-rank-0-alone",
        "the paths of rank 0's entries alone in the metadata",
        (
            Change(
                "default_planner:DefaultSavePlanner._create_global_plan",
                "dict(ChainMap(*planner_data_dict))",
                "planner_data_dict[0]",
            ),
        ),
        Witness(
            "rebuilding",
            Rebuilding(
                Scenario(entries=(Nested("b", entries=(ObjectEntry("c", saved=Plain((1,))),)),), save=Operation(2))
            ),
        ),
    ),
    Bug(
        "gaps-accepted",
        "chunks that leave a gap accepted",
        (
            Change(
                "default_planner:_validate_global_plan",
                "chunks_volume != tensor_volume",
                "chunks_volume > tensor_volume",
            ),
        ),
        Witness("validation", Validation((Tiled((3,), ()),))),
    ),
    Bug(
        "chunk-at-the-edge-refused",
        "a chunk that ends where the tensor does refused",
        (Change("default_planner:_check_box_bounds", "> outer_box_size[i]", ">= outer_box_size[i]"),),
        Witness("training_state", Training()),
    ),
    Bug(
        "negative-offset-accepted",
        "a chunk before the beginning accepted",
        (Change("default_planner:_check_box_bounds", "if inner_box.offsets[i] < 0:", "if False:"),),
        Witness("validation", Validation((Tiled((0,), (Box((-3,), (0,)),)),))),
    ),
    Bug(
        "object-saved-as-text",
        "an object saved as its text",
        (
            Change(
                "default_planner:DefaultSavePlanner.transform_object",
                "torch.save(object, bytes)",
                "torch.save(str(object), bytes)",
            ),
        ),
        Witness("round_trip", Scenario((ObjectEntry("a"),))),
    ),
    Bug(
        "duplicates-dropped-everywhere",
        "an item that several ranks have dropped by all of them",
        (
            Change(
                "_dedup_save_plans:dedup_save_plans",
                "for plan_idx in plan_indices - {select_plan_idx}:",
                "for plan_idx in plan_indices if len(plan_indices) > 1 else ():",
            ),
        ),
        Witness("dedup", Plans(2, (Held(Item()),))),
    ),
    Bug(
        "index-without-offset",
        "indices of metadata that all begin at zero",
        (Change("metadata:MetadataIndex.__init__", "torch.Size(offset)", "torch.Size([0] * len(offset))"),),
        Witness("windows", Window((2,), rows=(1, 1))),
    ),
    Bug(
        "properties-of-float32",
        "every tensor recorded as float32",
        (Change("metadata:TensorProperties.create_from_tensor", "dtype=tensor.dtype", "dtype=torch.float32"),),
        Witness("round_trip", Scenario(entries=(TensorEntry("a", dtype="int32"),))),
    ),
)
