"""What ranks plan to write is written once, by one that has it, and the metadata says so."""

from __future__ import annotations

from hypothesis import given

from properties.planning.check import check_plan, examples
from properties.planning.saves import judge_conflict, judge_dedup, judge_global_plan, judge_split
from properties.sharding import sharded
from strategies.plans import conflicts, plans, splits
from worlds.plans import Conflict, Plans, Split


@sharded
@examples(0.5)
@given(case=plans())
def test_dedup(shard: int, case: Plans) -> None:
    """Dedup keeps every item exactly once, on a rank that had it, the lowest or the one with least to write."""
    check_plan(judge_dedup, case)


@sharded
@examples(0.5)
@given(case=plans())
def test_global_plan(shard: int, case: Plans) -> None:
    """The metadata has each chunk once, as it was planned, and each item's hint points at it."""
    check_plan(judge_global_plan, case)


@sharded
@examples(0.5)
@given(case=conflicts())
def test_conflict(shard: int, case: Conflict) -> None:
    """Ranks that disagree on what stands under a name are refused."""
    check_plan(judge_conflict, case)


@sharded
@examples(0.5)
@given(case=splits())
def test_split(shard: int, case: Split) -> None:
    """Every item goes to one file, of as many as asked for, and no file is much the largest."""
    check_plan(judge_split, case)
