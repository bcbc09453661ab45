"""A bug planted in DCP's planning is found by its law within the ci profile, and shrunk to next to nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis.strategies import SearchStrategy
from torch.distributed._shard.sharding_spec import ChunkShardingSpec, _internals
from torch.distributed.checkpoint import (
    _dedup_save_plans,
    _nested_dict,
    _sharded_tensor_utils,
    _traverse,
    default_planner,
    filesystem,
    planner_helpers,
    resharding,
)
from torch.distributed.tensor import _utils

from properties.planning import caching, nested, reads, saves, shards
from properties.planning.breach import (
    AcceptedWrong,
    NotInverse,
    PlanningViolation,
    PlanRaised,
    RefusedRight,
    WrongComparison,
    WrongItems,
    WrongMetadata,
    WrongOffsets,
    WrongRead,
)
from properties.planning.check import check_plan
from properties.planning.known_issues import Judge
from strategies import mesh_layouts
from strategies import nested as nests
from strategies import plans as draws
from tests.planted_line import PlantedLine
from tests.shrinking import ci_examples, shrunk
from worlds.concise import pretty
from worlds.plans import Merge, MeshLayout, NestedState, Plans, Reads, Tiled, Validation

pytestmark = pytest.mark.thorough

CI_EXAMPLES = ci_examples()  # of a law with a share of 1


@dataclass(frozen=True)
class Bug(PlantedLine):
    """A line of DCP, what to put in its place, the law that must break, and how the input must have shrunk."""

    judge: Judge
    cases: SearchStrategy[Any]
    kinds: tuple[type[PlanningViolation], ...]
    small: Callable[[Any], bool]
    share: float = 0.5
    """Of the profile's examples, as its law has it."""


def elements(tiled: Tiled) -> int:
    return math.prod(tiled.shape)


BUGS = (
    Bug(
        "an active chunk dropped too early from the sweep",
        planner_helpers,
        "create_read_items_for_chunk_list",
        "bisect_right(active_saved, (local_start, -1))",
        "bisect_right(active_saved, (local_start + 1, 1 << 60))",
        reads.judge_reads,
        draws.reads(),
        (WrongRead,),
        lambda case: isinstance(case, Reads) and elements(case.saved) <= 2 and len(case.wanted) <= 2,
    ),
    Bug(
        "a chunk that begins where another ends left out of the sweep",
        planner_helpers,
        "create_read_items_for_chunk_list",
        "if saved_start >= local_end:",
        "if saved_start >= local_end - 1 and saved_ptr:",
        reads.judge_reads,
        draws.reads(),
        (WrongRead,),
        lambda case: elements(case.saved) <= 3 and len(case.saved.boxes) <= 2,
    ),
    Bug(
        "an offset into the wanted chunk forgotten",
        resharding,
        "_shards_get_overlap_region_wrt_saved_tensor",
        "offset_for_current_tensor = saved_shard_offset - current_shard_offset",
        "offset_for_current_tensor = 0",
        reads.judge_reads,
        draws.reads(),
        (WrongRead,),
        lambda case: elements(case.saved) <= 2 and len(case.saved.boxes) <= 2 and len(case.wanted) == 1,
    ),
    Bug(
        "an object read for a tensor that is missing",
        default_planner,
        "create_default_local_load_plan",
        "if strict:",
        "if strict and not requests:",
        reads.judge_load_plan,
        draws.loads(),
        (PlanRaised,),
        lambda case: len(case.entries) <= 3,
    ),
    Bug(
        "an item kept on every rank but the first",
        _dedup_save_plans,
        "dedup_save_plans",
        "for plan_idx in plan_indices - {select_plan_idx}:",
        "for plan_idx in list(plan_indices - {select_plan_idx})[:1]:",
        saves.judge_dedup,
        draws.plans(),
        (WrongItems,),
        lambda case: isinstance(case, Plans) and case.world_size == 3 and len(case.held) == 1,
    ),
    Bug(
        "the highest rank and not the lowest",
        _dedup_save_plans,
        "dedup_save_plans",
        "select_plan_idx = min(plan_indices)",
        "select_plan_idx = max(plan_indices)",
        saves.judge_dedup,
        draws.plans(),
        (WrongItems,),
        lambda case: case.world_size == 2 and len(case.held) == 1 and case.lowest,
    ),
    Bug(
        "an index hint one too high",
        default_planner,
        "create_default_global_save_plan",
        "index=len(tensor_md.chunks)",
        "index=len(tensor_md.chunks) + (len(all_plans) > 1)",
        saves.judge_global_plan,
        draws.plans(),
        (WrongMetadata,),
        lambda case: case.world_size == 2 and len(case.held) == 1,
    ),
    Bug(
        "the last item of a plan in no file",
        filesystem,
        "_split_by_size_and_type",
        "for i, wi in enumerate(bytes_w):",
        "for i, wi in enumerate(bytes_w[:bins]):",
        saves.judge_split,
        draws.splits(),
        (WrongItems,),
        lambda case: case.bins == 2 and len(case.items) == 3,
    ),
    Bug(
        "overlaps looked for among neighbours alone",
        default_planner,
        "_validate_global_plan",
        "for _, other_idx in active:",
        "for _, other_idx in active[-1:]:",
        shards.judge_validation,
        draws.validations(),
        (AcceptedWrong,),
        lambda case: isinstance(case, Validation) and max(map(elements, case.tensors)) <= 8,
    ),
    Bug(
        "chunks that touch taken for an overlap",
        default_planner,
        "_check_box_overlap",
        "if box0.offsets[i] >= box1.offsets[i] + box1.sizes[i]:",
        "if box0.offsets[i] > box1.offsets[i] + box1.sizes[i]:",
        shards.judge_validation,
        draws.validations(),
        (RefusedRight,),
        lambda case: len(case.tensors) <= 2 and max(map(elements, case.tensors)) <= 6,
    ),
    Bug(
        "an overlap by one row accepted",
        _internals,
        "_find_1d_overlapping_shards",
        "if intervals[i][1] >= intervals[i + 1][0]:",
        "if intervals[i][1] > intervals[i + 1][0]:",
        shards.judge_enumerable_spec,
        draws.broken_tilings(),
        (AcceptedWrong,),
        lambda case: elements(case) <= 4 and len(case.boxes) <= 5,
        share=1,
    ),
    Bug(
        "the rows of a chunk rounded down",
        ChunkShardingSpec,
        "build_metadata",
        "split_size = get_split_size(sharding_dim_size, chunks)",
        "split_size = max(1, sharding_dim_size // chunks)",
        shards.judge_chunk_spec,
        draws.chunked_shapes(),
        (WrongOffsets,),
        lambda case: len(case.shape) == 1 and case.shape[0] <= 4 and case.chunks <= 3,
    ),
    Bug(
        "a dim sharded twice given the offset of the last alone",
        _utils,
        "_get_shard_size_and_offsets",
        "return shard_size, previous_offsets[index]",
        "return shard_size, index",
        shards.judge_offsets,
        mesh_layouts.mesh_layouts(),
        (WrongOffsets,),
        lambda case: isinstance(case, MeshLayout) and max(case.shape) <= 3 and len(case.ranks) == 1,
    ),
    Bug(
        "the offset of a strided shard taken from its second row",
        _utils,
        "_get_first_offset",
        "int(offsets[0])",
        "int(offsets[min(1, len(offsets) - 1)])",
        shards.judge_fully_sharded,
        mesh_layouts.fully_sharded_layouts(),
        (WrongOffsets,),
        lambda case: case.shape[0] <= 3 and math.prod(case.mesh) <= 2 and case.ranks == (0,),
    ),
    Bug(
        "two names that meet, and one of them lost",
        _nested_dict,
        "flatten_state_dict",
        "if new_fqn in flattened:",
        "if new_fqn in flattened and len(path) == 1:",
        nested.judge_flatten,
        nests.nested_states(),
        (NotInverse,),
        lambda case: isinstance(case, NestedState) and len(case.state) <= 2,
    ),
    Bug(
        "a list that is not filled up to a place",
        _traverse,
        "set_element",
        "while len(lst) <= idx:",
        "while len(lst) < idx:",
        nested.judge_paths,
        nests.nested_states(),
        (PlanRaised, NotInverse),
        lambda case: len(case.path) == 2 and case.path[1] == 0,
    ),
    Bug(
        "a plain value dropped where sharded tensors are flattened",
        _sharded_tensor_utils,
        "_flatten_sharded_tensors",
        "if not isinstance(value, ShardedTensor):",
        "if value is None:\n            return\n        if not isinstance(value, ShardedTensor):",
        nested.judge_flatten_sharded_tensors,
        nests.nested_states(),
        (NotInverse,),
        lambda case: case.state == {"a": None},
    ),
    Bug(
        "chunks that are not compared",
        planner_helpers,
        "_compare_save_plans",
        "or chunk.sizes != other_chunk.sizes",
        "or False",
        caching.judge_comparison,
        draws.comparisons(),
        (WrongComparison,),
        lambda case: len(case.one) <= 2,
    ),
    Bug(
        "a new plan overlooked",
        planner_helpers,
        "_merge_delta_local_plans",
        "if delta_plan and not delta_plan.usable:",
        "if len(merged_plans) or not delta_plan.usable:",
        caching.judge_merge,
        draws.merges(),
        (WrongItems,),
        lambda case: case == Merge(2, (False, True)),
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_planted_bug_is_found_and_shrunk(bug: Bug) -> None:
    with bug.planted():
        violation, case = shrunk(
            bug.cases,
            lambda case: check_plan(bug.judge, case),
            PlanningViolation,
            max_examples=round(CI_EXAMPLES * bug.share),
        )
        assert isinstance(violation, bug.kinds), violation
    check_plan(bug.judge, case)  # without the bug it passes
    assert f"case = {pretty(case)}\n" in str(violation)
    assert bug.small(case), str(violation)
