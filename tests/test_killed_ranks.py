"""Ranks that die: as data, as they are drawn, what becomes of the others, and what the judge makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, find, given, seed, settings
from hypothesis.errors import InvalidArgument

from properties.judge_killed import EarlierChanged, MixedCheckpoint, judge_killed
from properties.killed_issues import KILLED_ISSUES, KilledIssue, find_killed_issue
from properties.ledger import torch_release
from strategies import killed_scenarios, kills
from worlds import (
    ChunkSharding,
    InvalidScenario,
    ObjectEntry,
    Operation,
    ProcessWorld,
    Scenario,
    TensorEntry,
    WriterOptions,
)
from worlds.killed import Kill, KilledOutcome, KilledScenario, kill_places
from worlds.older import OLD_OBJECT
from worlds.outcome import (
    Deadlocked,
    Died,
    ErrorRecord,
    ObjectState,
    OperationOutcome,
    Raised,
    RankOutcome,
    Returned,
    Waiting,
)
from worlds.processes.killed import run_killed

ROWS = ChunkSharding(0, (0, 1, 2))
STATE = Scenario(
    entries=(TensorEntry("a", (6, 2), saved=ROWS, loaded=ROWS), TensorEntry("b", (2,), "bool"), ObjectEntry("c", 1)),
    save=Operation(3),
    load=Operation(3),
)


@pytest.mark.parametrize(
    ("kills", "says"),
    [
        ((Kill(3, "writer.finish"),), "no rank 3"),
        ((Kill(0, "reader.reset"),), "no place"),
        ((Kill(0, "writer.reset"), Kill(0, "writer.finish")), "dies once"),
    ],
)
def test_illegal_kill_is_refused_in_one_line(kills: tuple[Kill, ...], says: str) -> None:
    with pytest.raises(InvalidScenario, match=says):
        KilledScenario(STATE, kills)


def test_prints_as_python() -> None:
    killed = KilledScenario(STATE, (Kill(1, "file.write", 17), Kill(2, "writer.write_data", done=True)), path="same")
    names = {one.__name__: one for one in (Kill, KilledScenario, Scenario, TensorEntry, ObjectEntry, ChunkSharding)}
    assert eval(repr(killed), {**names, "Operation": Operation}) == killed


def test_shrinks_to_one_rank_that_dies_at_once() -> None:
    few = settings(database=None, max_examples=200)
    assert find(killed_scenarios(), lambda _: True, settings=few) == KilledScenario(Scenario())
    drawn = kills(operation="save", world_size=3)
    assert find(drawn, lambda _: True, settings=few) == (Kill(0, "writer.reset"),)
    assert find(drawn, lambda kills: len(kills) == 2, settings=few)[0] == Kill(0, "writer.reset")


@pytest.mark.parametrize("operation", ["save", "load"])
def test_every_place_and_several_ranks_are_drawn(operation: Any) -> None:
    drawn: list[Kill] = []
    counts: set[int] = set()

    @seed(0)
    @settings(max_examples=400, database=None, phases=[Phase.generate])
    @given(kills=kills(operation=operation, world_size=3))
    def collect(kills: tuple[Kill, ...]) -> None:
        drawn.extend(kills)
        counts.add(len(kills))

    collect()
    assert {kill.place for kill in drawn} == set(kill_places(operation))
    assert {kill.rank for kill in drawn} == {0, 1, 2}
    assert {kill.done for kill in drawn} == {False, True}
    assert counts == {1, 2}


def test_one_rank_alone_can_die() -> None:
    assert find(kills(operation="load", world_size=1), lambda _: True) == (Kill(0, "reader.reset"),)
    with pytest.raises(InvalidArgument):
        kills(operation="load", world_size=0)


PLACES = [
    Kill(1, "writer.storage_meta"),
    Kill(0, "planner.create_global_plan", done=True),
    Kill(2, "planner.finish_plan"),
    Kill(1, "writer.write_data", done=True),
    Kill(0, "writer.finish", done=True),
    Kill(0, "file.rename"),
    Kill(2, "file.write", 100),
]


@pytest.mark.parametrize("kill", PLACES, ids=str)
def test_survivors_end_without_success_and_another_checkpoint_stays(kill: Kill, processes: ProcessWorld) -> None:
    killed = KilledScenario(STATE, (kill,))
    outcome = run_killed(processes, killed)
    assert outcome.operation is not None
    assert outcome.died == (0,)
    assert outcome.operation.ranks[kill.rank] == Died("killed by SIGKILL")
    assert sum(isinstance(seen, Raised) for seen in outcome.operation.ranks) == 2
    assert outcome.earlier_changed == ()
    assert judge_killed(killed, outcome) is None


def test_rank_that_dies_loading_leaves_the_checkpoint_as_it_was(processes: ProcessWorld) -> None:
    killed = KilledScenario(STATE, (Kill(1, "planner.commit_tensor", 1),), "load")
    outcome = run_killed(processes, killed)
    assert outcome.died == (0,)
    assert outcome.later is not None
    assert outcome.later.returned
    assert judge_killed(killed, outcome) is None


def test_kill_that_no_rank_comes_to_changes_nothing(processes: ProcessWorld) -> None:
    killed = KilledScenario(STATE, (Kill(1, "writer.finish"),))  # of the coordinator alone
    outcome = run_killed(processes, killed)
    assert outcome.operation is not None
    assert outcome.operation.returned
    assert outcome.died == ()


def test_rank_dies_after_the_bytes_that_it_was_to_write(
    processes: ProcessWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes: dict[str, int] = {}

    def keep(path: str, ignore_errors: bool) -> None:
        sizes.update({file.name: file.stat().st_size for file in Path(path, "new").iterdir()})

    with monkeypatch.context() as patch:
        patch.setattr("worlds.processes.killed.shutil.rmtree", keep)
        run_killed(processes, KilledScenario(STATE, (Kill(2, "file.write", 123),)))
    assert sizes["__2_0.distcp"] == 123


@pytest.mark.parametrize("issue", KILLED_ISSUES.values(), ids=lambda issue: issue.id)
def test_minimal_scenario_shows_the_issue(issue: KilledIssue, processes: ProcessWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    breach = judge_killed(issue.killed, run_killed(processes, issue.killed))
    assert breach is not None, f"this torch no longer shows it: set fixed_in of {issue.id!r}"
    assert find_killed_issue(breach) is issue
    assert find_killed_issue(replace(breach, killed=replace(issue.killed, path="another"))) is None


def test_later_load_that_fails_anyway_is_known_by_why_it_does(processes: ProcessWorld) -> None:
    state = Scenario((TensorEntry("a"),), writer=WriterOptions(extensions=("deflated", "inverted")))
    killed = KilledScenario(state, (Kill(0, "reader.reset"),), operation="load")
    breach = judge_killed(killed, run_killed(processes, killed))
    assert breach is not None
    assert breach.kind is EarlierChanged
    known = find_killed_issue(breach)
    assert known is not None
    assert known.id == "extensions-undone-in-wrong-order"
    other = replace(breach, outcome=replace(breach.outcome, earlier_changed=("__0_0.distcp",)))
    assert find_killed_issue(other) is None


GONE = Died("killed by SIGKILL")
LOST = Raised(ErrorRecord("RuntimeError", "Connection closed by peer"))
NAMED = Raised(ErrorRecord("CheckpointException", ""), "plan", ((0, ErrorRecord("OSError", "x")),))


def seen(*ranks: RankOutcome) -> OperationOutcome:
    return OperationOutcome(ranks)


@pytest.fixture(scope="module")
def loaded(processes: ProcessWorld) -> KilledOutcome:
    """Of a save at the same path in which nobody came to die, so that all is new."""
    outcome = run_killed(processes, KilledScenario(STATE, (Kill(1, "writer.finish"),), path="same"))
    assert outcome.later is not None
    return outcome


def changed(outcome: KilledOutcome, text: str) -> OperationOutcome:
    """The later load, with that text for the object on rank 2."""
    assert outcome.later is not None
    last = outcome.later.ranks[2]
    assert isinstance(last, Returned)
    state = (*last.state[:2], ObjectState(("c",), "str", text))
    return seen(*outcome.later.ranks[:2], replace(last, state=state))


def kind_of(outcome: KilledOutcome, path: Any = "same", operation: Any = "save") -> str | None:
    place = "writer.write_data" if operation == "save" else "reader.read_data"
    breach = judge_killed(KilledScenario(STATE, (Kill(1, place),), operation, path), outcome)
    if breach is None:
        return None
    violation = breach.violation()
    assert "killed = KilledScenario(" in str(violation)
    with pytest.raises(breach.kind):
        violation.throw()
    return breach.kind.__name__


def test_judge_on_what_survivors_see(loaded: KilledOutcome) -> None:
    after = replace(loaded, died=(0,))
    stuck = Deadlocked(Waiting("barrier", (0, 1, 2)))
    returned = loaded.operation.ranks[0] if loaded.operation else LOST
    assert kind_of(replace(after, operation=seen(LOST, GONE, LOST))) is None
    assert kind_of(replace(after, operation=seen(NAMED, GONE, NAMED))) is None
    assert kind_of(replace(after, operation=seen(LOST, GONE, stuck))) == "SurvivorWaits"
    assert kind_of(replace(after, operation=seen(LOST, GONE, returned))) == "SuccessWithoutRank"
    assert kind_of(replace(after, operation=seen(LOST, GONE, GONE))) == "RankDied"
    assert kind_of(replace(after, operation=seen(LOST, Died("killed by SIGSEGV"), LOST))) == "RankDied"


def test_judge_on_what_is_left(loaded: KilledOutcome) -> None:
    after = replace(loaded, died=(0,), operation=seen(LOST, GONE, LOST))
    old = repr(OLD_OBJECT)
    assert kind_of(replace(after, later=changed(after, old))) == "MixedCheckpoint"
    assert kind_of(replace(after, later=changed(after, "'<not loaded>'"))) == "NeitherOldNorNew"
    assert kind_of(replace(after, later=changed(after, old)), path="another") == "MixedCheckpoint"
    assert kind_of(replace(after, earlier_changed=("__0_0.distcp",))) == "EarlierChanged"
    assert kind_of(replace(after, later=seen(NAMED, NAMED, NAMED))) is None
    assert kind_of(replace(after, later=seen(NAMED, NAMED, NAMED)), operation="load") == "EarlierChanged"
    assert kind_of(replace(after, later=seen(NAMED, NAMED, LOST))) == "UnnamedFailure"
    assert kind_of(replace(after, later=seen(LOST, LOST, LOST))) == "UnnamedFailure"


def test_all_old_is_right_at_the_same_path_and_wrong_at_another(processes: ProcessWorld) -> None:
    killed = KilledScenario(STATE, (Kill(1, "writer.storage_meta"),), path="same")
    outcome = run_killed(processes, killed)
    assert judge_killed(killed, outcome) is None
    assert outcome.later is not None
    assert outcome.later.returned
    breach = judge_killed(replace(killed, path="another"), outcome)
    assert breach is not None
    assert breach.kind.__name__ == "NeitherOldNorNew"


def test_earlier_save_that_failed_is_left_to_other_laws() -> None:
    before = seen(NAMED, NAMED, NAMED)
    assert judge_killed(KilledScenario(STATE), KilledOutcome(before)) is None
    assert MixedCheckpoint.law == "round trip"
