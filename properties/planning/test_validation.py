"""What is no exact tiling of a tensor is refused, and what is one is accepted."""

from __future__ import annotations

from hypothesis import given

from properties.planning.check import check_plan, examples
from properties.planning.shards import judge_enumerable_spec, judge_validation
from properties.sharding import sharded
from strategies.plans import broken_tilings, validations
from worlds.plans import Tiled, Validation


@sharded
@examples(1)
@given(case=validations())
def test_validation(shard: int, case: Validation) -> None:
    """The validation of a global plan names each tensor whose chunks do not tile it, and no other."""
    check_plan(judge_validation, case)


@sharded
@examples(1)
@given(case=broken_tilings())
def test_enumerable_spec(shard: int, case: Tiled) -> None:
    """An EnumerableShardingSpec is accepted if, and only if, its shards tile the tensor."""
    check_plan(judge_enumerable_spec, case)
