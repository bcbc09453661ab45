"""What is kept of a violation: the group that it belongs to, and the case, which comes back as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from campaign.cases import case_of, data_of
from campaign.grouping import group_of
from campaign.laws import all_laws
from properties import judge
from properties.known_issues import KNOWN_ISSUES
from properties.ledger import torch_release
from properties.planning.breach import WrongItems
from properties.violations import Deadlock, LostFailure, UnexpectedFailure, WrongBits, WrongException
from strategies.nested import nested_states
from strategies.plans import plans
from worlds import Fault, InvalidScenario, Operation, Scenario, SimulatedWorld
from worlds.plans import NestedState, Plans


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            LostFailure(
                "save: rank 0 failed in writer.write_data (OSError, through the call), and save() returned on rank 1"
            ),
            LostFailure(
                "save: rank 3 failed in planner.finish_plan (StrRaises, through the call), and rank 0 is not told"
            ),
        ),
        (
            UnexpectedFailure("load: failed although no rank should fail: rank 0 is blamed for KeyError: 'a.b'"),
            UnexpectedFailure(
                "load: failed although no rank should fail: rank 12 is blamed for KeyError: '\U000d330a'"
            ),
        ),
        (
            UnexpectedFailure(
                "load: failed in 'plan': rank 0 is blamed for RuntimeError: Missing key in checkpoint: b."
            ),
            UnexpectedFailure(
                "load: failed in 'plan': rank 0 is blamed for RuntimeError: Missing key in checkpoint: ô."
            ),
        ),
        (
            Deadlock("save: rank 0 waits for ever in broadcast (collective 2 of group [0, 1])"),
            Deadlock("save: rank 1 and 3 more wait for ever in broadcast (collective 11 of group [3, 1])"),
        ),
        (
            WrongBits("load: 'a' on rank 0: 1 element of its chunk at [0] is not what was saved"),
            WrongBits("load: 'b'[3] on rank 2: 5 of 7 elements of its chunk at [4, 2] are not what was saved"),
        ),
    ],
    ids=lambda violation: type(violation).__name__,
)
def test_one_bug_is_one_group_whatever_the_example(one: AssertionError, other: AssertionError) -> None:
    assert group_of("blame_at_save", one) == group_of("no_deadlock", other)
    assert group_of("blame_at_save", one).id == group_of("no_deadlock", other).id


FAILED = "load: failed although no rank should fail: rank 0 is blamed for KeyError: 'a.b'"
WRONG = "load: 'a' on rank 0: 1 of 2 elements of its chunk at [0] are not what was saved"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LostFailure("save: rank 0 failed in writer.finish"), LostFailure("load: rank 0 failed in reader.read_data")),
        (
            LostFailure("save: rank 0 failed in writer.finish (OSError)"),
            LostFailure("save: rank 0 failed in writer.prepare_local_plan (OSError)"),
        ),
        (
            LostFailure("save: rank 0 failed in writer.finish (OSError)"),
            LostFailure("save: rank 0 failed in writer.write_data (OSError)"),
        ),
        (
            LostFailure("save: rank 0 failed in file.open (OSError)"),
            LostFailure("save: rank 0 failed in file.rename (OSError)"),
        ),
        (LostFailure("save: rank 0 failed"), WrongException("save: rank 0 failed")),
        (
            UnexpectedFailure(FAILED).at("torch/distributed/checkpoint/filesystem.py:read_data"),
            UnexpectedFailure(FAILED).at("torch/distributed/checkpoint/planner_helpers.py:create_read_items"),
        ),
        (
            Deadlock("save: rank 0 waits for ever in broadcast").at("torch/distributed/checkpoint/_extension.py:a"),
            Deadlock("save: rank 0 waits for ever in broadcast").at("torch/distributed/checkpoint/_extension.py:b"),
        ),
        (
            WrongBits(WRONG).at("", "elements of another place"),
            WrongBits(WRONG).at("", "values that it does not have"),
        ),
        (Deadlock("save: rank 0 waits for ever in barrier"), Deadlock("save: rank 0 waits for ever in broadcast")),
        (
            UnexpectedFailure(
                "load: failed in 'plan': rank 0 is blamed for RuntimeError: Missing key in checkpoint: b."
            ),
            UnexpectedFailure("load: failed in 'plan': rank 0 is blamed for ValueError: Size mismatch between the two"),
        ),
    ],
)
def test_other_bugs_are_other_groups(one: AssertionError, other: AssertionError) -> None:
    assert group_of("round_trip", one) != group_of("round_trip", other)


def test_planning_is_grouped_by_its_law_and_the_tester_by_where_it_fails() -> None:
    wrong = WrongItems("item 1 is lost")
    assert group_of("dedup", wrong) == group_of("dedup", WrongItems("item 12 is lost"))
    assert group_of("dedup", wrong) != group_of("global_plan", wrong)
    assert group_of("dedup", wrong) != group_of("dedup", WrongItems("item 1 is repeated"))
    errors = []
    for text in ("1", "{"):
        with pytest.raises(json.JSONDecodeError) as caught:
            json.loads(text + "a")
        errors.append(caught.value)
    assert [group_of("dedup", error).place for error in errors] == ["decoder.py:decode", "decoder.py:raw_decode"]


def test_what_the_judge_says_of_known_issues_is_in_groups_by_their_kind(world: SimulatedWorld) -> None:
    """So that the texts of the table above are those of the judge."""
    groups = {}
    for issue in KNOWN_ISSUES.values():
        if not issue.affects(torch_release()):
            continue
        violation = judge(issue.scenario, world.run(issue.scenario)).violation()
        assert violation is not None
        groups[issue.id] = group_of("round_trip", violation)
    assert groups["bits-dtypes"].fact.startswith("TypeError: ")
    assert groups["second-writer-thread"].phase == "write"
    assert groups["reset-unprotected"].kind in ("Deadlock", "UnprotectedFailure")
    larger = Scenario(save=Operation(4), faults=(Fault("save", 2, "writer.reset", "ValueError"),))
    violation = judge(larger, world.run(larger)).violation()
    assert violation is not None
    assert group_of("no_deadlock", violation) == groups["reset-unprotected"]


@settings(max_examples=50)
@given(case=nested_states())
def test_case_that_json_has_no_word_for_comes_back(case: NestedState) -> None:
    data = json.loads(json.dumps(data_of(case)))
    assert set(data) == {"python"}
    assert case_of(data, NestedState) == case


@settings(max_examples=50)
@given(case=plans())
def test_case_of_planning_comes_back(case: Plans) -> None:
    data = json.loads(json.dumps(data_of(case)))
    assert set(data) == {"json"}
    assert case_of(data, Plans) == case


@pytest.mark.parametrize("text", ["__import__('os')", "NestedState(", "print(1)", "Leaf()", "NestedState(x=1)", "[].x"])
def test_what_is_no_case_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidScenario) as caught:
        case_of({"python": text}, NestedState)
    assert "\n" not in str(caught.value)


def test_every_law_is_there_with_the_class_of_its_cases() -> None:
    laws = all_laws()
    assert {"round_trip", "blame_at_save", "no_deadlock", "histories", "dedup", "training_state"} <= set(laws)
    assert laws["round_trip"].case_type is Scenario
    assert laws["round_trip"].node == "properties/test_round_trip.py::test_round_trip"
    assert laws["killed_ranks"].needs_processes
    assert not laws["order_of_ranks"].runs_in("processes")
    assert all(isinstance(law.case_type, type) for law in laws.values())


def test_wait_and_exception_tell_where_in_dcp_they_are(world: SimulatedWorld) -> None:
    """Of the ranks that wait too, and of an exception that another rank has raised."""
    expected = {
        "reset-unprotected": "_storage_utils.py:_storage_setup",
        "unpicklable-exception": "state_dict_saver.py:_save_state_dict",
        "bits-dtypes": "planner.py:tensor_storage_size",
        "int-keys": "",
    }
    for name, place in expected.items():
        violation = judge(KNOWN_ISSUES[name].scenario, world.run(KNOWN_ISSUES[name].scenario)).violation()
        assert violation is not None
        assert violation.place == (f"torch/distributed/checkpoint/{place}" if place else "")
        group = group_of("round_trip", violation)
        assert group.place == violation.place
