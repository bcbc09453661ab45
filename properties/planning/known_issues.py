"""The ledger of the planning laws: what is known to be wrong in released torch's planning functions.

As in the ledger of what scenarios show, an entry names a *failure*, and whatever else goes wrong with the same input is
new. Each has its minimal input, and ``tests/test_planning_known_issues.py`` fails when torch no longer shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from properties.ledger import LedgerEntry, first_match
from worlds.concise import Concise
from worlds.plans import (
    Box,
    ChunkedShape,
    Comparison,
    Conflict,
    Cut,
    Held,
    Item,
    Leaf,
    Merge,
    MeshLayout,
    NestedState,
    Plans,
    Split,
    Tiled,
    Validation,
    whole,
)

from . import explain
from .breach import PlanBreach
from .caching import judge_comparison, judge_merge
from .nested import judge_flatten, judge_flatten_sharded_tensors, judge_paths, judge_traverse
from .saves import judge_conflict, judge_dedup, judge_split
from .shards import judge_chunk_spec, judge_enumerable_spec, judge_fully_sharded, judge_local_box, judge_validation

__all__ = ["PLANNING_ISSUES", "PlanningIssue", "find_planning_issue"]

Judge = Callable[[Any], Iterator[PlanBreach]]


@dataclass(frozen=True, kw_only=True)
class PlanningIssue(LedgerEntry):
    """An entry for what planning functions do, each with a minimal input. ``matches`` gets an input and its breach."""

    shown_by: tuple[tuple[Judge, Concise], ...]
    matches: Callable[[Any, PlanBreach], bool]


_FLATTENING = (judge_flatten, judge_flatten_sharded_tensors)
_SHARDS = (Held(Item("a", Box((0,), (0,)), (1,)), (0,)), Held(Item("a", Box((0,), (1,)), (1,)), (1,)))
_ROW = Item("a", Box((0,), (1,)), (4,))
_SCALARS = tuple(Item(fqn, whole(())) for fqn in "bcd")

_ISSUES = (
    PlanningIssue(
        id="empty-chunk-at-the-same-offset",
        title="dedup takes an empty chunk and another that begins at the same place for duplicates",
        loses="a tensor with an empty shard where another begins cannot be saved, or is saved and cannot be loaded",
        shown_by=((judge_dedup, Plans(2, _SHARDS)),),
        matches=explain.shares_its_offset,
    ),
    PlanningIssue(
        id="weighed-as-whole-tensor",
        title="each shard is weighed as if it were its whole tensor, where writes are spread over ranks and files",
        loses="ranks and files get unequal shares of the bytes, so that a save takes longer than it must",
        shown_by=(
            (judge_dedup, Plans(2, (Held(_ROW), *map(Held, _SCALARS)))),
            (judge_split, Split(2, (_ROW, *_SCALARS))),
        ),
        matches=explain.weighed_as_whole,
    ),
    PlanningIssue(
        id="zero-dims-unchecked",
        title="the validation of a global plan skips 0-d tensors",
        loses="a planner that leaves out a 0-d tensor's one chunk, or has it twice, is not told so",
        shown_by=(
            (judge_validation, Validation((Tiled((), ()),))),
            (judge_conflict, Conflict(Item("a", whole(())), Item("a", Box((1,), (1,)), (2,)))),
        ),
        matches=explain.has_no_dims,
    ),
    PlanningIssue(
        id="single-plan-unchecked",
        title="the validation of a global plan does not ask whether one rank's chunks cover a tensor",
        loses="one rank that plans to save a part of a tensor saves it without a word; the rest is lost",
        shown_by=((judge_validation, Validation((Tiled((1,), ()),), 1)),),
        matches=explain.lacks_elements_in_one_plan,
    ),
    PlanningIssue(
        id="chunk-with-more-dims",
        title="the validation of a global plan accepts a chunk with more dims than its tensor",
        loses="a planner that makes such a chunk is told at load, not at save",
        shown_by=(
            (judge_validation, Validation((Tiled((1,), (Box((0, 0), (1, 1)),)),))),
            (judge_conflict, Conflict(Item("a", Box((0,), (1,)), (2,)), Item("a", Box((1, 0), (1, 1)), (2, 1)))),
        ),
        matches=explain.has_more_dims,
    ),
    PlanningIssue(
        id="empty-chunk-within-another",
        title="an empty chunk within another is taken for an overlap",
        loses="a sharded tensor with an empty shard elsewhere than at the end cannot be made, or not saved",
        shown_by=(
            (judge_validation, Validation((Tiled((2,), (Box((0,), (2,)), Box((1,), (0,)))),))),
            (judge_enumerable_spec, Tiled((2,), (Box((0,), (2,)), Box((1,), (0,))))),
        ),
        matches=explain.refused_for_empty_chunks,
    ),
    PlanningIssue(
        id="ranks-that-disagree",
        title="ranks that give one tensor another dtype or shape are not refused: the first one's is recorded",
        loses="what all ranks but one had under that name is dropped, or recorded with a dtype that it does not have",
        shown_by=(
            (judge_conflict, Conflict(Item("a", whole(())), Item("a", whole(()), (), "float64"))),
            (judge_conflict, Conflict(*(Item("a", Box((row,), (1,)), (2,), ("bool", "int8")[row]) for row in (0, 1)))),
        ),
        matches=explain.disagrees_on_dtype_or_shape,
    ),
    PlanningIssue(
        id="chunk-spec-behind-the-end",
        title="the empty last chunks of a ChunkShardingSpec begin behind the tensor's end",
        loses="a legal sharding cannot be checkpointed at all: 1 row over 3 ranks, 5 over 4, 9 over 8",
        shown_by=((judge_chunk_spec, ChunkedShape((1,), 0, 3)),),
        matches=explain.empty_chunks_behind_the_end,
        upstream="pytorch/pytorch#121002",
    ),
    PlanningIssue(
        id="cached-plan-of-another-dtype",
        title="with plan caching, a plan in which only dtypes have changed is taken for the cached one",
        loses="the metadata of every later checkpoint has the dtype of the first",
        shown_by=((judge_comparison, explain.compared(Item("a", whole(())), Item("a", whole(()), (), "float64"))),),
        matches=explain.differs_in_dtype_alone,
    ),
    PlanningIssue(
        id="cached-plan-of-other-paths",
        title="with plan caching, a plan whose flattened names come from other paths is taken for the cached one",
        loses="what loads without a template (dcp_to_torch_save) rebuilds the nesting of the first checkpoint",
        shown_by=((judge_comparison, Comparison((Item("a.b"),), (Item("a.b"),), (("a.b",),), (("a", "b"),))),),
        matches=explain.differs_in_paths_alone,
    ),
    PlanningIssue(
        id="cached-plans-of-fewer-ranks",
        title="with plan caching, plans of more ranks than are cached are cut off when they are merged",
        loses="in a save by a larger group than the one before, one rank raises and the others wait for ever",
        shown_by=((judge_merge, Merge(1, (False, True))),),
        matches=explain.cut_off,
    ),
    PlanningIssue(
        id="strided-shard-as-box",
        title="a _StridedShard whose elements do not lie in one box is saved and loaded as if they did",
        loses="loading into such a DTensor fills it with other elements, and says nothing; saving it fails",
        shown_by=((judge_local_box, MeshLayout((3,), (2,), (Cut(0, 2),))),),
        matches=explain.is_strided,
    ),
    PlanningIssue(
        id="fsdp-and-tp-uneven",
        title="FSDP on top of tensor parallelism, rows that do not divide evenly: _StridedShard gives other shards",
        loses="save() and load() report success, and a row is not restored (7 rows over 3 × 2); or save() fails (13)",
        shown_by=((judge_fully_sharded, MeshLayout((7,), (3, 2), (Cut(0, 2), Cut(0)), (4,))),),
        matches=explain.follows_the_placements,
    ),
    PlanningIssue(
        id="empty-dict-lost",
        title="an empty dict in a state dict is lost in flattening",
        loses="it is not in the checkpoint, and a list that it is in comes back shorter, or with None",
        shown_by=tuple((judge, NestedState({"a": {}})) for judge in _FLATTENING),
        matches=explain.lost_an_empty_mapping,
    ),
    PlanningIssue(
        id="keys-become-text",
        title="keys of a state dict that are no strings become strings in flattening, and may meet others that are",
        loses="a checkpoint has other keys than were saved, or one entry in the place of two",
        shown_by=tuple((judge, NestedState({0: Leaf()})) for judge in _FLATTENING),
        matches=explain.changed_keys_to_text,
        upstream="pytorch/pytorch#153842",
    ),
    PlanningIssue(
        id="tuples-not-traversed",
        title="a tuple with tensors is not gone into, although the documentation of traverse_state_dict says so",
        loses="its tensors are pickled as one object: not resharded, not loaded in place",
        shown_by=((judge_traverse, NestedState({"a": (Leaf(),)})),),
        matches=explain.left_tuples_whole,
    ),
    PlanningIssue(
        id="get-element-past-the-end",
        title="get_element raises IndexError for the place behind the end of a list",
        loses="the default value that was asked for",
        shown_by=((judge_paths, NestedState({"a": []}, ("a", 0))),),
        matches=explain.looked_up_behind_the_end,
    ),
)

PLANNING_ISSUES: dict[str, PlanningIssue] = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""


def find_planning_issue(judge: Judge, case: Concise, breach: PlanBreach) -> PlanningIssue | None:
    """The entry for the breach that ``judge`` found in ``case``, if it is known for the installed torch."""

    def matches(issue: PlanningIssue) -> bool:
        return any(judge == shown_by for shown_by, _ in issue.shown_by) and issue.matches(case, breach)

    return first_match(PLANNING_ISSUES.values(), matches)
