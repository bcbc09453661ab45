"""Bugs in what is planned to be loaded, and in what is refused."""

from __future__ import annotations

from worlds import ChunkSharding, MeshSharding, Nested, Operation, Plain, PlannerOptions, Scenario, Shard, TensorEntry
from worlds.rebuilding import Rebuilding
from worlds.training import Training

from ..bug import Bug, Change, Witness

__all__ = ["LOAD_PLANS"]

LOAD_PLANS = (
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
        "meta-dtensor-of-padded-shape",
        "a DTensor on the meta device made anew with the shape that its local tensor has on every rank",
        (
            Change(
                "planner_helpers:_init_state_dict",
                "shape=value.size(),\n                stride=value.stride(),",
                "",
            ),
        ),
        Witness(
            "round_trip",
            Scenario(
                entries=(TensorEntry("a", (1,), loaded=MeshSharding((2,), (Shard(0),), memory="meta")),),
                load=Operation(2),
            ),
        ),
    ),
    Bug(
        "meta-tensor-left",
        "a plain tensor on the meta device left there",
        (
            Change(
                "planner_helpers:_init_state_dict",
                "            return tensor\n",
                "            return value\n",
            ),
        ),
        Witness("round_trip", Scenario(entries=(TensorEntry("a", loaded=Plain(memory="meta")),))),
    ),
)
