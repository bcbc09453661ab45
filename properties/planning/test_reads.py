"""What a rank reads fills what it wants to load: each element once, from where it was saved."""

from __future__ import annotations

from hypothesis import given

from properties.planning.check import check_plan, examples
from properties.planning.reads import judge_load_plan, judge_reads
from properties.sharding import sharded
from strategies.plans import loads, reads
from worlds.plans import Load, Reads


@sharded
@examples(1)
@given(case=reads())
def test_read_items(shard: int, case: Reads) -> None:
    """Read items tile each wanted chunk exactly once, and point at its bytes in the right saved chunk."""
    check_plan(judge_reads, case)


@sharded
@examples(0.5)
@given(case=loads())
def test_load_plan(shard: int, case: Load) -> None:
    """A load plan has the reads of every entry, and is refused for what is missing or does not fit."""
    check_plan(judge_load_plan, case)
