"""Nested state dicts come apart and together again as they were."""

from __future__ import annotations

from hypothesis import given

from properties.planning.check import check_plan, examples
from properties.planning.nested import judge_flatten, judge_flatten_sharded_tensors, judge_paths, judge_traverse
from properties.sharding import sharded
from strategies.nested import nested_states
from worlds.plans import NestedState


@sharded
@examples(0.5)
@given(case=nested_states())
def test_flatten(shard: int, case: NestedState) -> None:
    """Unflatten undoes flatten, and flatten refuses names that meet."""
    check_plan(judge_flatten, case)


@sharded
@examples(0.5)
@given(case=nested_states())
def test_traverse(shard: int, case: NestedState) -> None:
    """Traversing visits each leaf once, with its path, in order."""
    check_plan(judge_traverse, case)


@sharded
@examples(0.5)
@given(case=nested_states())
def test_paths(shard: int, case: NestedState) -> None:
    """A path leads to what it names, or to the default, and setting it changes nothing else."""
    check_plan(judge_paths, case)


@sharded
@examples(0.5)
@given(case=nested_states())
def test_flatten_sharded_tensors(shard: int, case: NestedState) -> None:
    """Flattening sharded tensors leaves all else as it is."""
    check_plan(judge_flatten_sharded_tensors, case)
