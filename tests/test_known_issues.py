"""The ledger: each entry's minimal scenario still shows it, and nothing but it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from properties import judge
from properties.known_issues import KNOWN_ISSUES, KnownIssue, find_known_issue
from properties.ledger import torch_release
from properties.verdict import Breach, Verdict
from properties.violations import NotLoaded, UnexpectedFailure, Violation
from worlds import (
    Fault,
    Nested,
    ObjectEntry,
    Operation,
    PlannerOptions,
    ProcessWorld,
    Scenario,
    SimulatedWorld,
    TensorEntry,
)
from worlds.dtypes import DTYPES
from worlds.layouts import ChunkSharding, EnumerableSharding, MeshSharding, Plain, Replicate, Tile

ISSUES = pytest.mark.parametrize("issue", KNOWN_ISSUES.values(), ids=lambda issue: issue.id)


@ISSUES
def test_minimal_scenario_shows_the_issue(issue: KnownIssue, world: SimulatedWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    verdict = judge(issue.scenario, world.run(issue.scenario))
    assert not verdict, f"this torch no longer shows it: set fixed_in of {issue.id!r} in properties/known_issues.py"
    assert find_known_issue(verdict) is issue, verdict.violation()


@ISSUES
def test_real_ranks_show_the_issue_too(issue: KnownIssue, processes: ProcessWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    verdict = judge(issue.scenario, processes.run(issue.scenario))
    if processes.name in issue.shows_in:
        assert not verdict, f"the simulated world shows it, and real ranks do not: {issue.id}"
    assert verdict or find_known_issue(verdict) is issue, verdict.violation()


@ISSUES
def test_entry_does_not_match_what_else_goes_wrong_there(issue: KnownIssue, world: SimulatedWorld) -> None:
    """The predicate names the failure: something else that is wrong with what is held or written is new."""
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    verdict = judge(issue.scenario, world.run(issue.scenario))
    assert verdict.breach is not None
    for kind in Violation.__subclasses__():
        other = Breach(kind, "something else", verdict.breach.operation, path=("elsewhere",))
        if kind is not verdict.breach.kind and kind.law in ("round trip", "metadata") and kind is not UnexpectedFailure:
            assert find_known_issue(replace(verdict, breach=other)) is None, kind


@ISSUES
def test_entry_does_not_match_a_scenario_that_passes(issue: KnownIssue, world: SimulatedWorld) -> None:
    scenario = Scenario()
    assert find_known_issue(judge(scenario, world.run(scenario))) is None


def test_entry_is_no_longer_known_where_it_is_fixed() -> None:
    issue = replace(next(iter(KNOWN_ISSUES.values())), fixed_in=(2, 14))
    assert issue.affects((2, 13))
    assert not issue.affects((2, 14))
    assert torch_release("2.15.0+cpu") == (2, 15)


@pytest.mark.parametrize("error", ["OSError", "StrRaises"])
def test_what_fails_after_a_lost_thread_is_the_same_issue(error: str, world: SimulatedWorld) -> None:
    """Found by real threads, which come in another order than the simulated world's natural one."""
    issue = KNOWN_ISSUES["second-writer-thread"]
    scenario = replace(issue.scenario, faults=(*issue.scenario.faults, Fault("save", 0, "writer.finish", error)))
    verdict = judge(scenario, world.run(scenario))
    assert find_known_issue(verdict) is issue, verdict
    other = replace(scenario, writer=replace(scenario.writer, thread_count=1))
    assert find_known_issue(replace(verdict, scenario=other)) is None


@pytest.mark.skipif("bcomplex32" not in DTYPES, reason="there is bcomplex32 from torch 2.15 on")
@pytest.mark.parametrize("shape", [(0,), (1,)])
def test_empty_tensor_of_bcomplex32_cannot_be_staged(shape: tuple[int, ...], world: SimulatedWorld) -> None:
    """Here on every rank, or on the rank that is not of the mesh; one with elements can be."""
    entry = TensorEntry("a", shape, "bcomplex32", saved=MeshSharding((1,), (Replicate(),)))
    scenario = Scenario((entry,), Operation(2, api="async"))
    known = find_known_issue(judge(scenario, world.run(scenario)))
    assert known is not None
    assert known.id == "staging-exotic-dtype"
    everywhere = replace(scenario, entries=(replace(entry, shape=(1,), saved=Plain()),))
    assert judge(everywhere, world.run(everywhere))


def test_dict_without_a_tensor_on_one_rank_is_asked_for_like_one_of_objects(world: SimulatedWorld) -> None:
    """By the rank whose dict it is; that of the rank that has the tensor is not, and another dict is new."""
    inside = TensorEntry("t", (7,), saved=Plain((1,)), loaded=Plain((1,)))
    elsewhere = TensorEntry("e", (1,), loaded=ChunkSharding(0, (1,)))
    entries = (Nested("o", "dict", (Nested("p", "dict", (inside,)),)), elsewhere)
    scenario = Scenario(entries, Operation(2), Operation(2))
    verdict = judge(scenario, world.run(scenario))
    known = find_known_issue(verdict)
    assert known is not None, verdict.violation()
    assert known.id == "mistaken-for-2.3"
    there = replace(inside, saved=Plain(), loaded=Plain())
    whole = replace(scenario, entries=(Nested("o", "dict", (Nested("p", "dict", (there,)),)), elsewhere))
    assert find_known_issue(replace(verdict, scenario=whole)) is None
    assert judge(whole, world.run(whole))


def test_objects_that_a_rank_passes_over_are_those_of_the_old_layout(world: SimulatedWorld) -> None:
    """With ``allow_partial_load``: on the rank without a shard, in a dict without a tensor, whatever fails there."""
    elsewhere = TensorEntry("e", (1,), saved=ChunkSharding(0, (0,)), loaded=ChunkSharding(0, (0,)))
    entries = (elsewhere, Nested("o", "dict", (ObjectEntry("p", 1),)))
    planner = PlannerOptions(allow_partial_load=True)
    scenario = Scenario(entries, Operation(2), Operation(2), planner=planner)
    failing = replace(scenario, faults=(Fault("load", 1, "planner.load_bytes"),))
    for each in (scenario, failing):
        verdict = judge(each, world.run(each))
        known = find_known_issue(verdict)
        assert known is not None, verdict.violation()
        assert known.id == "mistaken-for-2.3"
        strict = replace(each, planner=PlannerOptions())
        assert find_known_issue(replace(verdict, scenario=strict)) is None
        with_tensor = replace(each, entries=(elsewhere, Nested("o", "dict", (ObjectEntry("p", 1), TensorEntry("t")))))
        assert find_known_issue(replace(verdict, scenario=with_tensor)) is None


def test_bool_that_was_overwritten_before_it_was_written_is_as_before(world: SimulatedWorld) -> None:
    """Of whatever was written over it torch makes 1, which is what the target of a False was filled with."""
    entry = TensorEntry("a", (), "bool", saved=MeshSharding((1,), (Replicate(),)))
    scenario = Scenario((entry,), Operation(api="async"))
    verdict = judge(scenario, world.run(scenario))
    assert verdict.breach is not None
    assert verdict.breach.kind is NotLoaded
    known = find_known_issue(verdict)
    assert known is not None, verdict.violation()
    assert known.id == "staging-scalar-dtensor"
    for other in (replace(entry, dtype="int8"), replace(entry, saved=Plain())):
        assert find_known_issue(replace(verdict, scenario=replace(scenario, entries=(other,)))) is None
    assert find_known_issue(replace(verdict, scenario=replace(scenario, save=Operation()))) is None


def test_list_that_is_asked_for_as_a_whole_is_passed_over(world: SimulatedWorld) -> None:
    """With ``allow_partial_load``, and with it what was to fail as an object in it is loaded."""
    planner = PlannerOptions(allow_partial_load=True)
    entries = (Nested("a", "list", (ObjectEntry(0), Nested(1))),)
    scenario = Scenario(entries, planner=planner, faults=(Fault("load", 0, "planner.load_bytes"),))
    verdict = judge(scenario, world.run(scenario))
    known = find_known_issue(verdict)
    assert known is not None, verdict.violation()
    assert known.id == "empty-dict-beside-objects"
    for other in (
        replace(scenario, planner=PlannerOptions()),
        replace(scenario, entries=(*entries, ObjectEntry("b"))),
        replace(scenario, entries=(Nested("a", "list", (ObjectEntry(0),)),)),
    ):
        assert find_known_issue(replace(verdict, scenario=other)) is None


def test_two_ranks_are_blamed_in_planning_of_which_one_was_to_fail_later(world: SimulatedWorld) -> None:
    """Each of them alone is known, and neither is what was to fail."""
    tiles = EnumerableSharding((Tile(0, (1,), (1,)), Tile(0, (0,), (1,))))
    first = TensorEntry(0, (2,), saved=tiles, loaded=ChunkSharding(0, (1,)))
    scenario = Scenario(
        (Nested("a", "list", (first, TensorEntry(1))),),
        load=Operation(2),
        faults=(Fault("load", 0, "planner.resolve_tensor"),),
        storage="safetensors",
    )
    verdict = judge(scenario, world.run(scenario))
    known = find_known_issue(verdict)
    assert known is not None, verdict.violation()
    assert known.id == "empty-dict-in-list"


def test_object_under_an_int_key_is_loaded_beside_where_another_rank_passes_it_over(world: SimulatedWorld) -> None:
    """On rank 0, without a shard, nothing is loaded; on rank 1 it is, under the key's text."""
    elsewhere = TensorEntry("b", (1,), loaded=ChunkSharding(0, (1,)))
    planner = PlannerOptions(allow_partial_load=True)
    entries = (elsewhere, Nested("a", entries=(ObjectEntry(0),)))
    scenario = Scenario(entries, load=Operation(2), planner=planner)
    verdict = judge(scenario, world.run(scenario))
    known = find_known_issue(verdict)
    assert known is not None, verdict.violation()
    assert known.id == "mistaken-for-2.3"
    assert find_known_issue(replace(verdict, scenario=replace(scenario, planner=PlannerOptions()))) is None


def test_dict_whose_tensors_are_in_a_tuple_is_one_of_objects(world: SimulatedWorld) -> None:
    """A tuple is one object, whatever is in it; in a list a tensor is one."""
    elsewhere = TensorEntry("e", (1,), loaded=ChunkSharding(0, (0,)))
    scenario = Scenario((Nested("o", "dict", (Nested("p", "tuple", (TensorEntry("t"),)),)), elsewhere))
    scenario = replace(scenario, save=Operation(2), load=Operation(2))
    verdict = judge(scenario, world.run(scenario))
    known = find_known_issue(verdict)
    assert known is not None, verdict.violation()
    assert known.id == "mistaken-for-2.3"
    in_a_list = replace(scenario, entries=(Nested("o", "dict", (Nested("p", "list", (TensorEntry("t"),)),)), elsewhere))
    assert find_known_issue(replace(verdict, scenario=in_a_list)) is None


def test_rank_that_raised_in_reset_is_not_excused_for_another_exception(world: SimulatedWorld) -> None:
    scenario = KNOWN_ISSUES["reset-unprotected"].scenario
    outcome = world.run(scenario)
    other = replace(scenario, faults=(Fault("save", 1, "writer.reset", "ValueError"),))
    verdict: Verdict = judge(other, outcome)
    assert not verdict
    assert find_known_issue(verdict) is None


def test_object_in_a_dict_is_erased_by_a_load_that_fails(world: SimulatedWorld) -> None:
    """Since the dict is the caller's own. Whatever else becomes of the object is new."""
    nested = Nested("a", "dict", (ObjectEntry("b", form="instance"),))
    scenario = Scenario((nested, TensorEntry("c", saved=None)))
    verdict = judge(scenario, world.run(scenario))
    known = find_known_issue(verdict)
    assert known is not None, verdict
    assert known.id == "objects-erased"
    assert verdict.breach is not None
    other = replace(verdict.breach, detail=(verdict.breach.detail[0], "seen      int 1"))
    assert find_known_issue(replace(verdict, breach=other)) is None
