"""Judges what the planner caches from one save to the next: when plans are the same, and how new ones are merged in."""

from __future__ import annotations

from collections.abc import Iterator

from torch.distributed.checkpoint.planner import SavePlan
from torch.distributed.checkpoint.planner_helpers import _compare_save_plans, _merge_delta_local_plans

from worlds.plans import Comparison, Item, Merge

from .breach import PlanBreach, PlanRaised, WrongComparison, WrongItems, result_of
from .build import item_of, save_plan

__all__ = ["judge_comparison", "judge_merge"]


def judge_comparison(case: Comparison) -> Iterator[PlanBreach]:
    """``_compare_save_plans``: equal if, and only if, a checkpoint made of them would be the same."""
    one, other = (
        save_plan(items, dict(zip((item.fqn for item in items), paths, strict=True)))
        for items, paths in ((case.one, case.one_paths), (case.other, case.other_paths))
    )
    expected = (case.one, case.one_paths) == (case.other, case.other_paths)
    for first, second in ((one, other), (other, one)):
        seen = result_of(lambda: bool(_compare_save_plans(first, second)))  # noqa: B023 - called at once
        if isinstance(seen, Exception):
            yield PlanBreach(PlanRaised, f"compare: raised {type(seen).__name__}: {seen}", expected, seen)
        elif seen != expected:
            said = "the same" if seen else "different"
            yield PlanBreach(WrongComparison, f"compare: takes plans for {said} that are not", expected, seen)
    if _compare_save_plans(one, SavePlan(one.items, usable=False)):
        yield PlanBreach(WrongComparison, "compare: takes a plan for the placeholder of a cached one", False, True)


def judge_merge(case: Merge) -> Iterator[PlanBreach]:
    """``_merge_delta_local_plans``: each rank's new plan, or the cached one of a rank that sends none."""
    cached = [save_plan([Item(f"cached {rank}")]) for rank in range(case.cached)]
    new = [
        save_plan([Item(f"new {rank}")]) if changed else SavePlan([], usable=False)
        for rank, changed in enumerate(case.changed)
    ]
    expected = [
        f"new {rank}" if changed else f"cached {rank}" if rank < case.cached else "refused"
        for rank, changed in enumerate(case.changed)
    ]
    merged = result_of(lambda: _merge_delta_local_plans(cached, new))
    if isinstance(merged, Exception):
        if "refused" not in expected:
            yield PlanBreach(PlanRaised, f"merge: raised {type(merged).__name__}: {merged}", expected, merged)
        return
    seen = [item_of(item).fqn for plan in merged for item in plan.items]
    if seen != expected:
        headline = f"merge: {len(seen)} plans of {len(expected)} ranks, or another rank's"
        yield PlanBreach(WrongItems, headline, expected, seen, (expected, seen))
