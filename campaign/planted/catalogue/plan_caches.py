"""Bugs in plans that are cached from one save to the next."""

from __future__ import annotations

from worlds import Fault, Operation, PlannerOptions, Scenario, TensorEntry
from worlds.histories import History, Save
from worlds.plans import Box, Comparison, Item, Merge
from worlds.side_by_side import SideBySide

from ..bug import Bug, Change, Witness

__all__ = ["PLAN_CACHES"]

PLAN_CACHES = (
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
        Witness("merge", Merge(2, (False, True))),
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
        "plans-that-are-kept-for-next-save-without-being-asked-to",
        "plans that are kept for the next save without being asked to",
        (
            Change(
                "default_planner:DefaultSavePlanner.__init__",
                "self._enable_plan_caching = enable_plan_caching",
                "self._enable_plan_caching = True",
            ),
        ),
        Witness(
            "side_by_side",
            SideBySide(
                Scenario(save=Operation(2, members=(0, 1)), load=Operation(2, members=(0, 1))),
                Scenario(save=Operation(members=(1,)), load=Operation(members=(1,))),
            ),
        ),
    ),
)
