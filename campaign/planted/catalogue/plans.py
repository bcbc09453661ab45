"""Bugs in what is planned to be saved and loaded, and in what the metadata say of it."""

from __future__ import annotations

from worlds import (
    ChunkSharding,
    Fault,
    MeshSharding,
    Nested,
    ObjectEntry,
    Operation,
    Plain,
    PlannerOptions,
    Scenario,
    Shard,
    TensorEntry,
)
from worlds.histories import History, Save
from worlds.plans import Box, Held, Item, Plans, Tiled, Validation
from worlds.rebuilding import Rebuilding
from worlds.training import Training
from worlds.windows import Window

from ..bug import Bug, Change, Witness

__all__ = ["PLANS"]

PLANS = (
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
        Witness("windows", Window()),
    ),
    Bug(
        "object-put-at-top-under-last-key-of-its-path",
        "an object put at the top, under the last key of its path",
        (
            Change(
                "default_planner:DefaultLoadPlanner.load_bytes",
                "self.mappings[read_item.dest_index.fqn]",
                "self.mappings[read_item.dest_index.fqn][-1:]",
            ),
        ),
        Witness("training_state", Training()),
    ),
    Bug(
        "tensor-of-another-size-loaded-into",
        "a tensor of another size loaded into",
        (
            Change(
                "default_planner:create_default_local_load_plan",
                "md.size != obj",
                "len(md.size) != len(obj.size()) and md.size != obj",
            ),
        ),
        Witness("refusal", Scenario(entries=(TensorEntry("a", (1,), loaded=None), TensorEntry("a", (2,), saved=None)))),
    ),
    Bug(
        "missing-key-passed-over",
        "a missing key passed over",
        (Change("default_planner:create_default_local_load_plan", "if strict:", "if strict and requests:"),),
        Witness("refusal", Scenario(entries=(TensorEntry("a", saved=None),))),
    ),
    Bug(
        "missing-key-refused-where-partial-load-is-allowed",
        "a missing key refused where a partial load is allowed",
        (Change("default_planner:DefaultLoadPlanner.create_local_plan", "not self.allow_partial_load", "True"),),
        Witness(
            "refusal",
            Scenario(entries=(TensorEntry("a", saved=None),), planner=PlannerOptions(allow_partial_load=True)),
        ),
    ),
    Bug(
        "key-that-also-finds-names-that-only-begin-like-it",
        "a key that also finds names that only begin like it",
        (
            Change(
                "default_planner:_EmptyStateDictLoadPlanner._should_include_key",
                "any(unflattened_key in self.keys for unflattened_key in unflattened_keys)",
                "any(key.startswith(asked) for asked in self.keys)",
            ),
        ),
        Witness("rebuilding", Rebuilding(Scenario(entries=(TensorEntry("ab"),)), by="keys", keys=("a",))),
    ),
    Bug(
        "object-read-for-tensor-that-is-missing",
        "an object read for a tensor that is missing",
        (Change("default_planner:create_default_local_load_plan", "if strict:", "if strict and not requests:"),),
        Witness("refusal", Scenario(entries=(TensorEntry("a"), TensorEntry("b", saved=None)))),
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
        Witness("dedup", Plans(7, (Held(Item()),))),
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
        "nested-keys-not-found",
        "keys that find nothing below them",
        (
            Change(
                "default_planner:_EmptyStateDictLoadPlanner._should_include_key",
                ("    if key in self.keys:\n        return True\n"),
                "    return key in self.keys\n",
            ),
        ),
        Witness(
            "rebuilding",
            Rebuilding(Scenario(entries=(Nested("a", entries=(TensorEntry("b"),)),)), by="keys", keys=("a",)),
        ),
        upstream="pytorch#123679",
    ),
    Bug(
        "plan-cached-before-success",
        "a local plan that is cached before the whole plan has succeeded",
        (
            Change(
                "default_planner:DefaultSavePlanner.create_local_plan",
                "self._pending_local_plan = plan",
                "SavePlanner._cached_save_plan[self._cached_plans_key] = plan",
            ),
        ),
        Witness(
            "histories",
            History(
                (TensorEntry("a"),),
                (Save(faults=(Fault("save", 0, "planner.create_global_plan"),)), Save()),
                planner=PlannerOptions(enable_plan_caching=True),
            ),
        ),
        upstream="pytorch#176289",
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
        "load-plan-outside-of-mesh",
        "a DTensor planned by ranks outside of its mesh at load",
        (
            Change(
                "default_planner:create_default_local_load_plan",
                "if obj.device_mesh.get_coordinate() is not None:",
                "if True:",
            ),
        ),
        Witness(
            "round_trip",
            Scenario(
                entries=(TensorEntry("a", (1,), loaded=MeshSharding((1,), (Shard(0),), ranks=(1,))),), load=Operation(2)
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
                2,
                (Held(Item(box=Box((0,), (1,)), shape=(2,)), (0,)), Held(Item(box=Box((1,), (1,)), shape=(2,)), (1,))),
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
        Witness("windows", Window()),
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
        Witness("windows", Window()),
    ),
    Bug(
        "target-narrowed-by-source",
        "the place in the file taken for the place in the target",
        (
            Change(
                "default_planner:DefaultLoadPlanner.transform_tensor",
                "read_item.dest_offsets",
                "read_item.storage_offsets",
            ),
        ),
        Witness("metadata", Scenario(entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 0))),))),
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
        Witness("dedup", Plans(7, (Held(Item()),))),
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
