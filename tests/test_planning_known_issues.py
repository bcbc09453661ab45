"""The planning laws' ledger: each entry's minimal input still shows it, and nothing but it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from properties.known_issues import KNOWN_ISSUES
from properties.ledger import torch_release
from properties.planning import caching, nested, reads, saves, shards
from properties.planning.breach import PlanBreach, PlanningViolation
from properties.planning.known_issues import PLANNING_ISSUES, Judge, PlanningIssue, find_planning_issue
from properties.summary import known_issue_lines
from worlds.concise import Concise
from worlds.plans import (
    ChunkedShape,
    Comparison,
    Conflict,
    Cut,
    Held,
    Item,
    Leaf,
    Load,
    LoadEntry,
    Merge,
    MeshLayout,
    NestedState,
    Plans,
    Reads,
    Split,
    Tiled,
    Validation,
    whole,
)

SHOWN = pytest.mark.parametrize(
    ("issue", "judge", "case"),
    [
        pytest.param(issue, judge, case, id=f"{issue.id}-{judge.__name__}-{number}")
        for issue in PLANNING_ISSUES.values()
        for number, (judge, case) in enumerate(issue.shown_by)
    ],
)

TENSOR = Item("a", whole((2,)), (2,), shard=False)

PASSING: tuple[tuple[Judge, Concise], ...] = (
    (reads.judge_reads, Reads()),
    (reads.judge_load_plan, Load((LoadEntry(Tiled((2,), (whole((2,)),)), target="tensor"), LoadEntry()))),
    (saves.judge_dedup, Plans(3, (Held(TENSOR), Held(Item("b"), (1, 2))))),
    (saves.judge_global_plan, Plans(3, (Held(TENSOR), Held(Item("b"), (1, 2))))),
    (saves.judge_conflict, Conflict(Item(), TENSOR)),
    (saves.judge_split, Split(2, (TENSOR, Item("b")))),
    (shards.judge_validation, Validation((Tiled((2,), (whole((2,)),)),))),
    (shards.judge_enumerable_spec, Tiled((2,), (whole((2,)),))),
    (shards.judge_chunk_spec, ChunkedShape((4,), 0, 2)),
    (shards.judge_offsets, MeshLayout()),
    (shards.judge_local_box, MeshLayout()),
    (shards.judge_fully_sharded, MeshLayout((8,), (2, 2), (Cut(0, 2), Cut(0)), (0, 1, 2, 3))),
    (nested.judge_flatten, NestedState({"a": [Leaf(), {"b": None}]})),
    (nested.judge_traverse, NestedState({"a": [Leaf(), {"b": None}]})),
    (nested.judge_paths, NestedState({"a": [Leaf()]}, ("a", 0))),
    (nested.judge_flatten_sharded_tensors, NestedState({"a": [Leaf(), {"b": None}]})),
    (caching.judge_comparison, Comparison((TENSOR,), (TENSOR,), (("a",),), (("a",),))),
    (caching.judge_merge, Merge(2, (False, True))),
)


def test_ids_are_of_one_ledger_each() -> None:
    assert not set(KNOWN_ISSUES) & set(PLANNING_ISSUES)


@SHOWN
def test_minimal_input_shows_the_issue(issue: PlanningIssue, judge: Judge, case: Concise) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    breaches = list(judge(case))
    assert breaches, (
        f"this torch no longer shows it: set fixed_in of {issue.id!r} in properties/planning/known_issues.py"
    )
    for breach in breaches:
        assert find_planning_issue(judge, case, breach) is issue, breach.violation(case)


@SHOWN
def test_entry_does_not_match_what_else_goes_wrong_there(issue: PlanningIssue, judge: Judge, case: Concise) -> None:
    breach = next(judge(case))
    for kind in PlanningViolation.__subclasses__():
        other = replace(breach, kind=kind)
        assert kind is breach.kind or find_planning_issue(judge, case, other) is None, kind


@SHOWN
def test_input_prints_as_python_that_evaluates_back(issue: PlanningIssue, judge: Judge, case: Concise) -> None:
    import worlds.plans as names

    assert eval(repr(case), vars(names)) == case
    text = str(next(judge(case)).violation(case))
    headline, blank, *rest = text.splitlines()
    assert headline
    assert blank == ""
    assert rest[0].startswith("case = ")
    assert any(line.startswith("expected  ") for line in rest)
    assert any(line.startswith("seen      ") for line in rest)


@pytest.mark.parametrize(("judge", "case"), PASSING, ids=lambda value: getattr(value, "__name__", ""))
def test_plain_input_passes(judge: Judge, case: Concise) -> None:
    breach: PlanBreach | None = next(judge(case), None)
    assert breach is None, breach and breach.violation(case)


def test_summary_names_the_issue() -> None:
    [line] = known_issue_lines({"empty-dict-lost": 3})
    assert line.split() == ["3", "×", "empty-dict-lost:", *PLANNING_ISSUES["empty-dict-lost"].title.split()]
