"""Planners as their authors would write them: some that are right, and some that are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch.distributed.checkpoint as dcp

from worlds import PlannerOptions

__all__ = ["Forgetting", "Lacking", "Right", "Shifting", "Unready", "WithOptions"]


class _Saves(dcp.DefaultSavePlanner):
    def create_local_plan(self) -> dcp.SavePlan:
        """In an order of its own, which is any planner's right."""
        plan = super().create_local_plan()
        return replace(plan, items=plan.items[::-1])


class Right:
    """Without options."""

    def make_save_planner(self) -> Any:
        return _Saves()

    def make_load_planner(self) -> Any:
        return dcp.DefaultLoadPlanner()


class WithOptions:
    """With one option, and the default planner for loads."""

    options = ("dedup_save_to_lowest_rank",)

    def make_save_planner(self, options: PlannerOptions) -> Any:
        return _Saves(dedup_save_to_lowest_rank=options.dedup_save_to_lowest_rank)


class _Forgets(dcp.DefaultSavePlanner):
    def create_local_plan(self) -> dcp.SavePlan:
        plan = super().create_local_plan()
        self.plan = replace(plan, items=plan.items if self.is_coordinator else plan.items[:1])
        return self.plan


class Forgetting(Right):
    """Saves of every other rank than the coordinator the first item alone."""

    def make_save_planner(self) -> Any:
        return _Forgets()


class _Shifts(dcp.DefaultLoadPlanner):
    def commit_tensor(self, read_item: Any, tensor: Any) -> None:
        if tensor.dim():
            tensor.copy_(tensor.clone().roll(1, 0))


class Shifting(Right):
    """Puts each row of what is loaded into the next one's place."""

    def make_load_planner(self) -> Any:
        return _Shifts()


class Lacking:
    """Makes none."""


class Unready(Right):
    """Its planner lacks what DCP calls."""

    def make_load_planner(self) -> Any:
        return object()
