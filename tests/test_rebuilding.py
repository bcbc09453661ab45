"""Checkpoints that are read without a template: as drawn, as run, as judged, and what is known to be wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import find, settings

import worlds
from properties.expected_rebuilding import expected_rebuilding
from properties.judge_rebuilding import judge_rebuilding
from properties.ledger import torch_release
from properties.rebuilding_issues import REBUILDING_ISSUES, RebuildingIssue, find_rebuilding_issue
from properties.violations import UnexpectedFailure, WrongBits, WrongKeys, WrongObject, WrongTensor
from strategies import rebuildings
from worlds import (
    ChunkSharding,
    EnumerableSharding,
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
    Shard,
    SimulatedWorld,
    TensorEntry,
    Tile,
)
from worlds.checkpointable import HAS_CHECKPOINTABLE_TENSOR
from worlds.outcome import (
    Deadlocked,
    ErrorRecord,
    ObjectState,
    OperationOutcome,
    Raised,
    Returned,
    TensorState,
    Waiting,
)
from worlds.rebuild import run_rebuilding
from worlds.rebuilding import By, Rebuilding, RebuildingOutcome

NESTED = Nested("n", "dict", (TensorEntry("t", (4,), saved=ChunkSharding(0, (0, 1))), ObjectEntry("o", (1, "x"))))
LISTED = Nested("l", "list", (TensorEntry("0", (2, 2), "int16"), ObjectEntry("1", 5)))
_LAZY = MeshSharding((1,), (Replicate(),), memory="negated")
STATE = Scenario((NESTED, LISTED, ObjectEntry("n.o2", "z")), Operation(2), Operation(2))
needs_checkpointable_tensor = pytest.mark.skipif(
    not HAS_CHECKPOINTABLE_TENSOR, reason="this torch has no CheckpointableTensor"
)
ISSUES = pytest.mark.parametrize("issue", REBUILDING_ISSUES.values(), ids=lambda issue: issue.id)


def test_what_takes_no_keys_gets_none() -> None:
    with pytest.raises(InvalidScenario, match="takes no keys"):
        Rebuilding(STATE, "there_and_back", ("n",))


def test_shrinks_to_a_conversion_of_nothing() -> None:
    assert find(rebuildings(), lambda _: True, settings=settings(database=None, max_examples=200)) == Rebuilding()


@pytest.mark.thorough
def test_keys_below_a_container_are_drawn() -> None:
    def asks_below(rebuilding: Rebuilding) -> bool:
        names = {unit.fqn for unit in rebuilding.scenario.units("save")}
        return rebuilding.keys is not None and any(
            name.startswith(f"{key}.") for name in names for key in rebuilding.keys if key
        )

    assert find(rebuildings(), asks_below, settings=settings(database=None, max_examples=2000))


@pytest.mark.parametrize("by", ["dcp_to_torch_save", "there_and_back", "keys", "planner"])
def test_every_way_gives_all_that_was_saved(by: By, world: SimulatedWorld, processes: ProcessWorld) -> None:
    rebuilding = Rebuilding(STATE, by)
    outcome = run_rebuilding(world, rebuilding)
    assert judge_rebuilding(rebuilding, outcome) is None
    assert outcome.read is not None
    paths = [state.path for state in outcome.read.ranks[0].state]  # type: ignore[union-attr]
    assert sorted(paths, key=str) == sorted(expected_rebuilding(rebuilding, 0), key=str)
    assert ("n", "t") in paths
    real = run_rebuilding(processes, rebuilding).read
    assert real is not None
    assert real.ranks == outcome.read.ranks


@pytest.mark.parametrize(
    ("keys", "paths"),
    [
        (("n",), {("n",), ("n", "t"), ("n", "o")}),
        (("n.t",), {("n",), ("n", "t")}),
        (("l.0", "n.o2"), {("l",), ("l", 0), ("n.o2",)}),
        (("n.", "x"), set()),
    ],
)
def test_keys_give_what_they_name_and_what_is_below(
    keys: tuple[str, ...], paths: set[tuple[str | int, ...]], world: SimulatedWorld
) -> None:
    rebuilding = Rebuilding(STATE, "keys", keys)
    assert set(expected_rebuilding(rebuilding, 0)) == paths
    assert judge_rebuilding(rebuilding, run_rebuilding(world, rebuilding)) is None


@pytest.mark.parametrize("entry", [TensorEntry("a", saved=_LAZY), Nested("a", entries=(TensorEntry(0, saved=_LAZY),))])
def test_memory_that_was_overwritten_is_negated_still(entry: TensorEntry | Nested, world: SimulatedWorld) -> None:
    """What an asynchronous save did not copy was overwritten; what lies there stands for its negative as before."""
    rebuilding = Rebuilding(Scenario(entries=(entry,), save=Operation(api="async")))
    breach = judge_rebuilding(rebuilding, run_rebuilding(world, rebuilding))
    assert breach is not None
    assert find_rebuilding_issue(breach) is not None, breach.violation()


@pytest.mark.parametrize("by", get_args(By))
def test_memory_of_a_bool_that_was_overwritten_is_true(by: By, world: SimulatedWorld) -> None:
    """Whatever lies there: torch makes it 0 or 1 where it copies it."""
    entry = TensorEntry(0, (), "bool", saved=MeshSharding((1,), (Replicate(),)))  # where False was
    scenario = Scenario(entries=(Nested("a", entries=(entry,)),), save=Operation(api="async"))
    rebuilding = Rebuilding(scenario, by, ("a",) if by == "keys" else None)
    breach = judge_rebuilding(rebuilding, run_rebuilding(world, rebuilding))
    assert breach is not None
    assert breach.deviations == {"wrongly staged", "text keys"}


def test_own_part_of_what_was_wrongly_staged_is_known_of_both(world: SimulatedWorld) -> None:
    """Saved by ``async_save`` without collectives; the part was once taken to be staged as it was."""
    halves = MeshSharding((2,), (Shard(0),))
    lazy = Plain(memory="negated")
    entries = (TensorEntry("a", (2,), saved=halves, loaded=halves), TensorEntry("b", saved=lazy, loaded=lazy))
    save = Operation(2, api="async uncoordinated", stager="default")
    rebuilding = Rebuilding(Scenario(entries, save, Operation(2)))
    breach = judge_rebuilding(rebuilding, run_rebuilding(world, rebuilding))
    assert breach is not None
    known = find_rebuilding_issue(breach)
    assert known is not None, breach.violation()
    assert breach.deviations == {"own part", "wrongly staged"}


def test_ordered_dict_that_was_staged_as_a_dict_is_one(world: SimulatedWorld) -> None:
    """In a tuple, by a writer that does the staging; what else is wrong there is new."""
    entries = (Nested("a", "tuple", (Nested("a", "ordered", (ObjectEntry("b", 1),)),)),)
    rebuilding = Rebuilding(Scenario(entries=entries, save=Operation(api="async")))
    breach = judge_rebuilding(rebuilding, run_rebuilding(world, rebuilding))
    assert breach is not None
    known = find_rebuilding_issue(breach)
    assert known is not None, breach.violation()
    assert known.id == "staging-ordered-dict"
    staged = replace(rebuilding, scenario=replace(rebuilding.scenario, save=Operation(api="async", stager="default")))
    assert judge_rebuilding(staged, run_rebuilding(world, staged)) is None
    other = judge_rebuilding(staged, run_rebuilding(world, rebuilding))
    assert other is not None
    assert find_rebuilding_issue(other) is None


@needs_checkpointable_tensor
@pytest.mark.parametrize("padded", [False, True])
def test_local_tensor_that_was_staged_as_the_whole_is_some_rank_s(padded: bool, world: SimulatedWorld) -> None:
    """Whichever rank's was kept, with its padding; what else is wrong beside it is told too."""
    tiles = (Tile(0, (0,), (1,)), Tile(1, (1,), (2,)), Tile(0, (3,), (1,)))
    entries = tuple(
        TensorEntry(name, (4,), saved=EnumerableSharding(tiles, "CheckpointableTensor", padded)) for name in "ab"
    )
    rebuilding = Rebuilding(Scenario((Nested("n", entries=(*entries, ObjectEntry(0))),), Operation(2, api="async")))
    outcome = run_rebuilding(world, rebuilding)
    breach = judge_rebuilding(rebuilding, outcome)
    assert breach is not None
    assert breach.deviations == {"local tensors", "text keys"}
    known = find_rebuilding_issue(replace(breach, deviations=frozenset({"local tensors"})))
    assert known is not None
    assert known.id == "staging-forgets-the-whole"
    assert outcome.read is not None
    (seen,) = outcome.read.ranks
    assert isinstance(seen, Returned)
    mixed = tuple(replace(state, chunks=()) if isinstance(state, TensorState) else state for state in seen.state)
    other = judge_rebuilding(rebuilding, replace(outcome, read=OperationOutcome((Returned(mixed),))))
    assert other is not None
    assert find_rebuilding_issue(other) is None


def test_names_that_collide_are_refused_on_the_way_back(world: SimulatedWorld) -> None:
    entries = (Nested("a", "dict", (ObjectEntry("b"),)), ObjectEntry("a.b"))
    rebuilding = Rebuilding(Scenario(entries, planner=PlannerOptions(flatten_state_dict=False)), "there_and_back")
    outcome = run_rebuilding(world, rebuilding)
    assert judge_rebuilding(rebuilding, outcome) is None
    taken = replace(outcome, read=OperationOutcome((Returned(()),)))
    breach = judge_rebuilding(rebuilding, taken)
    assert breach is not None
    assert "two entries have one name" in breach.headline


def test_judge_finds_what_is_wrong() -> None:
    rebuilding = Rebuilding(Scenario((TensorEntry("t", (2,)), ObjectEntry("o", 1))))
    right = tuple(expected_rebuilding(rebuilding, 0).values())
    tensor, thing = right
    assert isinstance(tensor, TensorState)
    assert isinstance(thing, ObjectState)
    chunk = replace(tensor.chunks[0], data=bytes(8))
    for state, kind in (
        ((tensor,), WrongKeys),
        ((tensor, replace(thing, text="2")), WrongObject),
        ((replace(tensor, dtype="int32"), thing), WrongTensor),
        ((replace(tensor, chunks=(chunk,)), thing), WrongBits),
    ):
        breach = judge_rebuilding(rebuilding, _read(Returned(state)))
        assert breach is not None
        assert breach.kind is kind
        assert find_rebuilding_issue(breach) is None
        assert str(breach.violation()).startswith("dcp_to_torch_save: rank 0: ")
        assert "rebuilding = Rebuilding(" in str(breach.violation())
    for seen in (Raised(ErrorRecord("OSError", "x")), Deadlocked(Waiting("a lock"))):
        breach = judge_rebuilding(rebuilding, _read(seen))
        assert breach is not None
        assert find_rebuilding_issue(breach) is None
    assert judge_rebuilding(rebuilding, _read(Returned(right))) is None
    with pytest.raises(ValueError, match="if, and only if"):
        judge_rebuilding(rebuilding, RebuildingOutcome(OperationOutcome((Returned(()),))))


def _read(seen: Returned | Raised | Deadlocked) -> RebuildingOutcome:
    return RebuildingOutcome(OperationOutcome((Returned(()),)), OperationOutcome((seen,)))


@ISSUES
def test_minimal_case_shows_the_issue(issue: RebuildingIssue, world: SimulatedWorld, processes: ProcessWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    for where in (world, processes):
        breach = judge_rebuilding(issue.rebuilding, run_rebuilding(where, issue.rebuilding))
        assert breach is not None, f"this torch no longer shows it: set fixed_in of {issue.id!r}"
        assert find_rebuilding_issue(breach) is issue, breach.violation()
        names = {**vars(worlds), "Rebuilding": Rebuilding}
        assert eval(repr(breach.rebuilding), names) == issue.rebuilding


@ISSUES
def test_entry_matches_no_other_failure(issue: RebuildingIssue, world: SimulatedWorld) -> None:
    breach = judge_rebuilding(issue.rebuilding, run_rebuilding(world, issue.rebuilding))
    assert breach is not None
    other = Raised(ErrorRecord("CheckpointException", ""), "plan", ((0, ErrorRecord("OSError", "disk")),))
    for seen in (other, replace(other, phase="read"), Raised(ErrorRecord("OSError", "disk"))):
        read = OperationOutcome((seen,) * len(breach.read.ranks))
        assert find_rebuilding_issue(replace(breach, kind=UnexpectedFailure, read=read, deviations=frozenset())) is None
    lost = OperationOutcome(tuple(Returned(()) for _ in breach.read.ranks))
    again = judge_rebuilding(issue.rebuilding, RebuildingOutcome(lost, lost))
    if again is not None and issue.id not in ("rebuilt-without-empty-dicts", "rebuilt-own-part"):
        assert find_rebuilding_issue(again) is None, again.deviations
