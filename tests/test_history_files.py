"""Histories in which operations on files fail, as run, as the model has them, and as told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from properties.history_issues import check_history, find_history_breaches
from properties.judge_history import judge_history
from properties.judge_killed import EarlierChanged
from properties.judged import FEATURE_HITS
from worlds import ChunkSharding, InvalidScenario, Operation, SimulatedWorld, TensorEntry, WriterOptions
from worlds.example import ExampleWorld
from worlds.file_faults import FileFault
from worlds.histories import History, Load, Save
from worlds.outcome import Returned
from worlds.run_history import run_history

TWO = Operation(2)
ENTRIES = (TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1))), TensorEntry("b"))


def _save(*faults: FileFault) -> Save:
    return Save("a", TWO, file_faults=faults)


def _load(*faults: FileFault) -> Load:
    return Load("a", TWO, file_faults=faults)


LONG = History(
    ENTRIES,
    (
        _save(*(FileFault("save", rank, "directory.mkdir", "EPERM") for rank in (0, 1))),  # where nothing is
        _load(),
        _save(),
        _save(FileFault("save", 1, "metadata.exists")),  # and so in its plan
        _load(),
        _save(*(FileFault("save", rank, "directory.mkdir") for rank in (0, 1))),  # where something is
        _load(FileFault("load", 1, "metadata.open")),
        _save(FileFault("save", 0, "metadata.remove", "EPERM")),
        _save(FileFault("save", 0, "data.write", "short"), FileFault("save", 1, "data.write", "short")),
        _load(FileFault("load", 0, "data.read"), FileFault("load", 1, "data.close")),
        _load(),
    ),
)
RETURN = [False, False, True, False, True, True, False, False, True, False, True]


@pytest.fixture(params=["simulated", "processes"])
def either(request: pytest.FixtureRequest) -> ExampleWorld:
    """Each of the two worlds in turn."""
    world: ExampleWorld = request.getfixturevalue(request.param)
    return world


def test_long_history_comes_to_what_the_model_says(either: ExampleWorld) -> None:
    outcome = run_history(either, LONG)
    assert judge_history(LONG, outcome) == ()
    ended = [all(isinstance(rank, Returned) for rank in step.operation.ranks) for step in outcome.steps]
    assert ended == RETURN
    assert outcome.steps[3].failed_in_plan
    assert outcome.steps[3].changed == ()


def test_writer_that_is_used_again_does_not_fail_again(either: ExampleWorld) -> None:
    fails = Save(file_faults=(FileFault("save", 0, "data.open"),), again=("writer",))
    reads = Load(file_faults=(FileFault("load", 0, "data.open"),), again=("reader",))
    steps = (fails, Save(again=("writer",)), reads, Load(again=("reader",)))
    outcome = run_history(either, History((TensorEntry("a"),), steps))
    assert [step.operation.returned for step in outcome.steps] == [False, True, False, True]


@pytest.mark.parametrize("storage", ["file_system", "fsspec"])
def test_what_was_not_reached_does_not_fail_a_later_step(storage: str, either: ExampleWorld) -> None:
    """By a call that tells a writer, or a reader, that is used again nothing that it would set itself up by."""
    legacy = Operation(api="legacy")
    saves = Save("a", legacy, again=("writer",), file_faults=(FileFault("save", 0, "data.open", skip=1),))
    loads = Load("a", legacy, again=("reader",), file_faults=(FileFault("load", 0, "data.open", skip=1),))
    steps = (saves, replace(saves, file_faults=()), loads, replace(loads, file_faults=()))
    outcome = run_history(either, History((TensorEntry("a"),), steps, storage=storage))
    assert [step.operation.returned for step in outcome.steps] == [True] * 4


def test_save_that_fails_in_its_plan_and_changes_something_is_a_violation(world: SimulatedWorld) -> None:
    outcome = run_history(world, LONG)
    steps = list(outcome.steps)
    steps[3] = replace(steps[3], changed=("a/__0_0.distcp",))
    (breach,) = judge_history(LONG, replace(outcome, steps=tuple(steps)))
    assert breach.kind is EarlierChanged
    assert breach.step == 3
    text = str(breach.violation())
    assert "step 4: 2 ranks save to 'a', where step 3 was to be seen, and rank 1 fails in metadata.exists (EIO)" in text


def test_story_tells_who_fails_together_and_what_is_not_reached(world: SimulatedWorld) -> None:
    never = _save(FileFault("save", 1, "data.write", skip=99), FileFault("save", 0, "data.write", "short"))
    history = History(ENTRIES, (*LONG.steps[:1], never))
    outcome = run_history(world, history)
    elsewhere = replace(outcome.steps[1], changed=("b/.metadata",))
    (breach,) = judge_history(history, replace(outcome, steps=(outcome.steps[0], elsewhere)))
    text = str(breach.violation())
    assert "step 1: 2 ranks save to 'a', where nothing was to be seen, and ranks 0-1 fail in directory.mkdir" in text
    assert "and rank 1 fails in data.write at call 99 (EIO), which is not reached, and rank 0 fails in data.w" in text


def test_story_tells_what_a_save_comes_to_alone(world: SimulatedWorld) -> None:
    outcome = run_history(world, LONG)
    fails = replace(outcome.steps[2], operation=outcome.steps[7].operation)
    (breach, *_) = judge_history(LONG, replace(outcome, steps=(*outcome.steps[:2], fails, *outcome.steps[3:])))
    assert breach.headline == "the save does not come to what it does alone: rank 0 does not see the same"
    assert str(breach.violation()).splitlines()[-1] == "        ranks 0-1, alone in new processes: returned"


def test_mixture_that_an_operation_on_a_file_leaves_is_the_known_one(world: SimulatedWorld) -> None:
    fails = _save(FileFault("save", 1, "data.open"))
    (breach,) = find_history_breaches(History(ENTRIES, (_save(), fails, Load())), world)
    check_history(breach.history, world)
    assert breach.headline == "the load succeeds, and mixes steps 1 and 2"


def test_what_fails_below_is_counted_where_it_was_reached(world: SimulatedWorld) -> None:
    group = "file operation that fails, at save"
    before = FEATURE_HITS.copy()
    fault = FileFault("save", 0, "data.fsync")
    check_history(History((TensorEntry("a"),), (Save(file_faults=(fault,)),)), world)  # where nothing is synced
    assert FEATURE_HITS[group, "fsync EIO"] == before[group, "fsync EIO"]
    synced = History((TensorEntry("a"),), (Save(file_faults=(fault,)),), WriterOptions(sync_files=True))
    check_history(synced, world)
    assert FEATURE_HITS[group, "fsync EIO"] == before[group, "fsync EIO"] + 1


def test_history_goes_on_so_that_nothing_is_lost_with_the_power() -> None:
    with pytest.raises(InvalidScenario, match="a history goes on"):
        Save(file_faults=(FileFault("save", 0, "data.fsync", "lost"),))
