"""States that go by files of safetensors: as drawn, as judged, and what is known to be wrong."""

from __future__ import annotations

import pytest
from hypothesis import find, settings

import worlds
from properties.judge_route import judge_route
from properties.ledger import torch_release
from properties.route_entry import RouteIssue
from properties.route_issues import find_route_issue
from properties.safetensors_issues import SAFETENSORS_ISSUES
from strategies import safetensors_routes
from worlds import (
    ChunkSharding,
    InvalidScenario,
    Nested,
    Operation,
    ProcessWorld,
    Scenario,
    SimulatedWorld,
    TensorEntry,
)
from worlds.outcome import ErrorRecord, OperationOutcome, Outcome, Raised, Returned
from worlds.routes import Route, Way, to_safetensors
from worlds.run_route import run_route

HALVES = ChunkSharding(0, (0, 1))
STATE = (
    Nested("n", "dict", (TensorEntry("t", (4, 2), saved=HALVES, loaded=ChunkSharding(1, (1, 0))),)),
    TensorEntry("u", (3,), "float64", loaded=HALVES),
)
SAVE = Operation(2, api="legacy")
ISSUES = pytest.mark.parametrize("issue", SAFETENSORS_ISSUES.values(), ids=lambda issue: issue.id)


def test_what_safetensors_cannot_hold_is_no_route() -> None:
    scenario = Scenario((TensorEntry("a", dtype="complex128"),), Operation(2, api="uncoordinated"), Operation(2))
    with pytest.raises(InvalidScenario, match="safetensors cannot hold this"):
        Route(scenario, "safetensors")
    assert Route(to_safetensors(scenario), "safetensors").scenario.entries == (TensorEntry("a", dtype="uint8"),)


def test_shrinks_to_a_file_for_each_rank_with_nothing_in_it() -> None:
    few = settings(database=None, max_examples=200)
    assert find(safetensors_routes(), lambda _: True, settings=few) == Route(Scenario(), "safetensors")


@pytest.mark.parametrize("by", ["safetensors", "consolidated"])
def test_state_is_loaded_as_it_was_saved(by: Way, world: SimulatedWorld, processes: ProcessWorld) -> None:
    route = Route(Scenario(STATE, SAVE, Operation(2)), by)
    for where in (world, processes):
        outcome = run_route(where, route)
        assert judge_route(route, outcome) is None
        assert outcome.load is not None
        assert outcome.load.returned


@ISSUES
def test_minimal_route_shows_the_issue(issue: RouteIssue, world: SimulatedWorld, processes: ProcessWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip(f"fixed in torch {issue.fixed_in}")
    for where in (world, processes):
        breach = judge_route(issue.route, run_route(where, issue.route))
        assert breach is not None, f"this torch no longer shows it: set fixed_in of {issue.id!r}"
        assert find_route_issue(breach) is issue, breach.violation()
        assert str(breach.violation()).startswith(f"by {issue.route.by}: ")
    assert eval(repr(issue.route), {**vars(worlds), "Route": Route}) == issue.route


@ISSUES
def test_entry_matches_no_other_failure(issue: RouteIssue) -> None:
    """Not another error in any phase."""
    ranks = issue.route.scenario.load.world_size
    saved = OperationOutcome((Returned(()),) * ranks)
    for phase in ("plan", "write", "read"):
        failed = Raised(ErrorRecord("CheckpointException", ""), phase, ((0, ErrorRecord("OSError", "disk")),))
        outcome = OperationOutcome((failed,) * ranks)
        for seen in (Outcome(outcome), Outcome(saved, outcome)):
            breach = judge_route(issue.route, seen)
            assert breach is not None
            assert find_route_issue(breach) is None, breach.violation()


def test_object_beside_tensors_is_all_that_is_excused() -> None:
    """A header that cannot be read where all that was saved are tensors is new."""
    route = Route(Scenario((TensorEntry("a", (2,)),)), "safetensors")
    message = "metadata is None; global metadata read failed: Error while deserializing header: header too large"
    failed = Raised(ErrorRecord("CheckpointException", ""), "plan", ((0, ErrorRecord("AssertionError", message)),))
    breach = judge_route(route, Outcome(OperationOutcome((Returned(()),)), OperationOutcome((failed,))))
    assert breach is not None
    assert find_route_issue(breach) is None
