"""Ways from a saved state to a loaded one: as drawn, as run, as judged, and what is known to be wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import find, settings

import worlds
from properties.judge_route import judge_route
from properties.ledger import torch_release
from properties.route_entry import RouteIssue
from properties.route_issues import ROUTE_ISSUES, find_route_issue
from properties.violations import LostFailure, NotLoaded, NotRefused, RankDied, UnexpectedFailure, Violation, WrongRanks
from strategies import routes
from worlds import (
    ChunkSharding,
    InvalidScenario,
    MeshSharding,
    Nested,
    ObjectEntry,
    Operation,
    Plain,
    PlannerOptions,
    ProcessWorld,
    Replicate,
    Scenario,
    SimulatedWorld,
    TensorEntry,
)
from worlds.entries import Entry
from worlds.outcome import Died, ErrorRecord, OperationOutcome, Outcome, Raised, RankOutcome, Returned
from worlds.routes import Route, from_torch_save
from worlds.run_route import run_route

SHARDS = ChunkSharding(0, (0, 1))
TENSORS = Nested("n", "dict", (TensorEntry("t", (4, 2)), TensorEntry("u", (3,), "float64")))
STATE = Scenario((TENSORS, ObjectEntry("o", (1, "x"))), load=Operation(2))
ISSUES = pytest.mark.parametrize("issue", ROUTE_ISSUES.values(), ids=lambda issue: issue.id)


def test_a_file_is_of_one_process() -> None:
    with pytest.raises(InvalidScenario, match="of one process"):
        Route(Scenario(save=Operation(2)), "broadcast")
    state = Scenario((TensorEntry("a", (2,), saved=SHARDS), Nested("s", "stateful")), Operation(2), Operation(2))
    assert Route(from_torch_save(state)).scenario.entries == (TensorEntry("a", (2,)), Nested("s"))


def test_shrinks_to_a_conversion_of_nothing() -> None:
    assert find(routes(), lambda _: True, settings=settings(database=None, max_examples=200)) == Route()


def test_state_is_loaded_as_it_was_saved(world: SimulatedWorld, processes: ProcessWorld) -> None:
    entries = (replace(TENSORS, entries=(TensorEntry("t", (4, 2), loaded=SHARDS),)), *STATE.entries[1:])
    route = Route(from_torch_save(replace(STATE, entries=entries)))
    for where in (world, processes):
        outcome = run_route(where, route)
        assert judge_route(route, outcome) is None
        assert outcome.load is not None
        assert outcome.load.returned


def test_tensors_are_broadcast_and_objects_refused(world: SimulatedWorld, processes: ProcessWorld) -> None:
    route, refused = (
        Route(from_torch_save(replace(STATE, entries=some)), "broadcast") for some in ((TENSORS,), STATE.entries)
    )
    for where in (world, processes):
        outcome = run_route(where, route)
        assert judge_route(route, outcome) is None
        assert outcome.load is not None
        assert outcome.load.returned
        assert judge_route(refused, run_route(where, refused)) is None
    taken = replace(outcome, load=OperationOutcome((Returned(()), Returned(()))))
    breach = judge_route(refused, taken)
    assert breach is not None
    assert breach.breach.kind is NotRefused
    said = "expected  load: every rank raises CheckpointException in 'plan' naming rank 0 (what it refuses); rank 1"
    assert said in str(breach.violation())
    assert find_route_issue(breach) is None


@pytest.mark.parametrize("sharded", [True, False])
def test_options_of_the_planner_go_to_what_reads_a_file(
    sharded: bool, world: SimulatedWorld, processes: ProcessWorld
) -> None:
    """Where it does not flatten, a dict is no tensor."""
    options = PlannerOptions(flatten_state_dict=False, flatten_sharded_tensors=sharded)
    flat, nested = (
        Route(from_torch_save(Scenario(entries, load=Operation(2), planner=options), "broadcast"), "broadcast")
        for entries in ((TensorEntry("a.b", (2,)),), (Nested("a", entries=(TensorEntry("t"),)),))
    )
    for where, route, returned in ((world, flat, True), (processes, flat, True), (world, nested, False)):
        outcome = run_route(where, route)
        assert judge_route(route, outcome) is None
        assert outcome.load is not None
        assert outcome.load.returned == returned


@ISSUES
def test_minimal_route_shows_the_issue(issue: RouteIssue, world: SimulatedWorld, processes: ProcessWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    for where in (world, processes):
        breach = judge_route(issue.route, run_route(where, issue.route))
        assert breach is not None, f"this torch no longer shows it: set fixed_in of {issue.id!r}"
        assert find_route_issue(breach) is issue, breach.violation()
        text = str(breach.violation())
        assert text.startswith("by broadcast: ")
        assert "route = Route(" in text
    assert eval(repr(issue.route), {**vars(worlds), "Route": Route}) == issue.route


def test_names_that_collide_are_refused_before_what_is_no_tensor(world: SimulatedWorld) -> None:
    state = Scenario((Nested("c", entries=(ObjectEntry("x"),)), TensorEntry("c.x")), load=Operation(2))
    route = Route(from_torch_save(state), "broadcast")
    outcome = run_route(world, route)
    assert judge_route(route, outcome) is None
    assert outcome.load is not None
    said = ErrorRecord("ValueError", "duplicated flatten key c.y")
    raised = Raised(ErrorRecord("CheckpointException", ""), "plan", ((0, said), (1, said)))
    breach = judge_route(route, replace(outcome, load=replace(outcome.load, ranks=(raised, raised))))
    assert breach is not None
    assert breach.breach.kind is LostFailure


def test_names_that_collide_in_the_file_are_refused_by_the_rank_that_reads_it(world: SimulatedWorld) -> None:
    """Whatever is to be loaded; in no other words, and by no other rank."""
    entries = (TensorEntry("a.b"), Nested("a", entries=(TensorEntry("b", loaded=None),)))
    route = Route(from_torch_save(Scenario(entries)), "broadcast")
    outcome = run_route(world, route)
    assert judge_route(route, outcome) is None
    assert outcome.load is not None
    (seen,) = outcome.load.ranks
    assert isinstance(seen, Raised)
    said = ErrorRecord("ValueError", "duplicated flatten key a.c")
    others: dict[type[Violation], RankOutcome] = {
        LostFailure: replace(seen, failures=((0, said),)),
        WrongRanks: replace(seen, failures=((0, said), (1, said))),
        NotRefused: Returned(()),
    }
    for kind, other in others.items():
        breach = judge_route(route, replace(outcome, load=replace(outcome.load, ranks=(other,))))
        assert breach is not None
        assert breach.breach.kind is kind
        assert find_route_issue(breach) is None


def test_bool_of_another_tensor_is_known_though_it_is_as_before(world: SimulatedWorld) -> None:
    """A wrong bool is what the target was before; which rank has which tensor is what mixes them up."""
    other = TensorEntry("b", dtype="int8", loaded=MeshSharding((1,), (Replicate(),)))
    scenario = Scenario((TensorEntry("a", dtype="bool", loaded=Plain((1,))), other), load=Operation(2))
    route = Route(from_torch_save(scenario), "broadcast")
    breach = judge_route(route, run_route(world, route))
    assert breach is not None
    assert breach.breach.kind is NotLoaded
    known = find_route_issue(breach)
    assert known is not None
    assert known.id == "broadcast-of-other-keys"


def test_shards_on_the_meta_device_are_refused(world: SimulatedWorld) -> None:
    """By the load itself, before it comes to the reader or its planner."""
    target = TensorEntry("a", (1,), loaded=ChunkSharding(0, (0,), memory="meta"))
    route = Route(from_torch_save(Scenario((target, ObjectEntry("b")), load=Operation(2))), "broadcast")
    outcome = run_route(world, route)
    assert judge_route(route, outcome) is None
    assert outcome.load is not None
    assert all(isinstance(seen, Raised) and len(seen.failures or ()) == 2 for seen in outcome.load.ranks)


SHARD = TensorEntry(0, (1,), loaded=ChunkSharding(0, (0,)))


@pytest.mark.parametrize(
    ("inside", "load", "known"),
    [
        ((SHARD, TensorEntry(1)), Operation(2), "empty-dict-in-list"),
        ((ObjectEntry(0), SHARD), Operation(2), "empty-dict-beside-objects"),
        ((SHARD, TensorEntry(1)), Operation(2, api="legacy"), "broadcast-forgets-path"),
    ],
)
def test_what_each_rank_says_of_a_list_is_known(
    inside: tuple[Entry, ...], load: Operation, known: str, world: SimulatedWorld
) -> None:
    """A rank without a shard of a tensor in a list has ``None`` there, or the list as one object, and refuses it.

    What other ranks say is another thing, and known by itself.
    """
    route = Route(from_torch_save(Scenario((Nested("a", "list", inside),), load=load)), "broadcast")
    breach = judge_route(route, run_route(world, route))
    assert breach is not None
    found = find_route_issue(breach)
    assert found is not None
    assert found.id == known
    load_outcome = breach.verdict.outcome.load
    assert load_outcome is not None
    strange = (1, ErrorRecord("RuntimeError", "Non-tensor value identified at b. At"))
    told = tuple(
        replace(seen, failures=(*(f for f in seen.failures or () if f[0] == 0), strange))
        for seen in load_outcome.ranks
        if isinstance(seen, Raised)
    )
    other = judge_route(route, replace(breach.verdict.outcome, load=replace(load_outcome, ranks=told)))
    assert other is not None
    assert find_route_issue(other) is None


def test_rank_that_gloo_ends_is_known(world: SimulatedWorld, processes: ProcessWorld) -> None:
    """Found on real ranks: rank 1 has room for the one number of ``a``, and gets the two that rank 0 sends first."""
    sharded = Nested("", entries=(TensorEntry("a", (2,), loaded=ChunkSharding(0, (0,))),))
    route = Route(from_torch_save(Scenario((TensorEntry("a"), sharded), load=Operation(2))), "broadcast")
    issue = ROUTE_ISSUES["broadcast-into-shards"]
    for where, kind in ((world, UnexpectedFailure), (processes, RankDied)):
        breach = judge_route(route, run_route(where, route))
        assert breach is not None
        assert breach.breach.kind is kind
        assert find_route_issue(breach) is issue
        assert (": rank 1 died: killed by SIGABRT" in str(breach.violation())) == (kind is RankDied)


@pytest.mark.parametrize("entries", [(), (ObjectEntry("o"),)])
def test_rank_that_dies_is_a_breach(entries: tuple[Entry, ...]) -> None:
    route = Route(from_torch_save(Scenario(entries, load=Operation(2))), "broadcast")
    load = OperationOutcome((Returned(()), Died("killed by SIGSEGV")))
    breach = judge_route(route, Outcome(OperationOutcome((Returned(()),)), load))
    assert breach is not None
    assert breach.breach.kind is RankDied
    assert find_route_issue(breach) is None


@ISSUES
def test_entry_matches_no_other_failure(issue: RouteIssue) -> None:
    size = issue.route.scenario.load.world_size
    saved = OperationOutcome((Returned(()),))
    plan = Raised(ErrorRecord("CheckpointException", ""), "plan", ((0, ErrorRecord("OSError", "disk")),))
    for seen in (plan, Raised(ErrorRecord("OSError", "disk")), Returned(()), Died("killed by SIGSEGV")):
        breach = judge_route(issue.route, Outcome(saved, OperationOutcome((seen,) * size)))
        assert breach is None or find_route_issue(breach) is None, breach.violation()
