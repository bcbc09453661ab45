"""What is cached from one save to the next is used where it is the same, and there alone."""

from __future__ import annotations

from hypothesis import given

from properties.planning.caching import judge_comparison, judge_merge
from properties.planning.check import check_plan, examples
from properties.sharding import sharded
from strategies.plans import comparisons, merges
from worlds.plans import Comparison, Merge


@sharded
@examples(0.5)
@given(case=comparisons())
def test_comparison(shard: int, case: Comparison) -> None:
    """Two plans are the same if, and only if, a checkpoint made of them is."""
    check_plan(judge_comparison, case)


@sharded
@examples(0.5)
@given(case=merges())
def test_merge(shard: int, case: Merge) -> None:
    """Each rank's plan is the new one that it sends, or else the one that is cached for it."""
    check_plan(judge_merge, case)
