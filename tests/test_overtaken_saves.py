"""Saves that are overtaken by the next step of a history: as data, as drawn, as run, as judged and told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from properties.history_issues import HISTORY_ISSUES, find_history_breaches, find_history_issue
from properties.history_model import sight_text, walk
from properties.judge_history import MemoryShows, judge_history
from properties.violations import WrongBits
from worlds import (
    ChunkSharding,
    Fault,
    InvalidScenario,
    ObjectEntry,
    Operation,
    SimulatedWorld,
    TensorEntry,
    WriterOptions,
)
from worlds.example import ExampleWorld
from worlds.file_faults import FileFault
from worlds.histories import History, Load, Save
from worlds.outcome import Returned
from worlds.run_history import run_history

TWO, UPLOAD = Operation(2), Operation(2, api="async")
ENTRIES = (TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1))), TensorEntry("b"), ObjectEntry("c", "text"))
LONG = History(
    ENTRIES,
    (
        Save("a", UPLOAD, overtaken=True),
        Save("a", TWO),
        Load("a", TWO),
        Save("a", UPLOAD, overtaken=True),
        Load("a", TWO),
        Save("b", UPLOAD, overwrite=False, overtaken=True),
        Save("b", UPLOAD),
        Load("b", TWO),
        Save("b", UPLOAD, faults=(Fault("save", 1, "writer.storage_meta"),), overtaken=True),
        Save("a", TWO),
        Load("b", TWO),
    ),
)
ORDER = (1, 0, 2, 4, 3, 6, 5, 7, 9, 8, 10)
SEEN = ["nothing", "step 2", "step 1", "step 1", "step 1", "nothing", "step 7", "step 7", "step 4", "step 7", "step 7"]


@pytest.fixture(params=["simulated", "processes"])
def either(request: pytest.FixtureRequest) -> ExampleWorld:
    """Each of the two worlds in turn."""
    world: ExampleWorld = request.getfixturevalue(request.param)
    return world


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Save(overtaken=True), "only what async_save uploads is overtaken"),
        (lambda: _pair(), "step 1 is overtaken by nothing"),
        (lambda: _pair(Save("b", Operation(3))), "of the same job"),
        (lambda: _pair(Save("b", UPLOAD, overtaken=True), Load("a", TWO)), "is waited for"),
        (lambda: _pair(Save("b", TWO, faults=(Fault("save", 0, "writer.finish"),))), "has no faults"),
        (lambda: _pair(Save("b", TWO, without=("b",))), "of the same entries"),
        (lambda: _pair(Save("b", replace(UPLOAD, stager="shared"))), "staged in the same way"),
        (lambda: _pair(Save("b", TWO, again=("writer", "planner"))), "does not use its planner or writer again"),
    ],
)
def test_what_cannot_be_overtaken_is_refused_in_one_line(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidScenario, match=says):
        make()


def _pair(*following: Save | Load) -> History:
    return History(ENTRIES, (Save("a", UPLOAD, overtaken=True), *following))


def test_steps_end_in_another_order_and_see_what_ended_before() -> None:
    assert LONG.order == ORDER
    returned = dict.fromkeys(range(len(LONG.steps)), True) | {5: None, 8: None}
    assert [index for index, _ in walk(LONG, returned)] == list(ORDER)
    assert [sight_text(sight) for _, sight in walk(LONG, returned)] == SEEN


def test_long_history_comes_to_what_the_model_says(either: ExampleWorld) -> None:
    outcome = run_history(either, LONG)
    breaches = judge_history(LONG, outcome)
    assert breaches == (), breaches[0].violation()
    failed = [
        index
        for index, step in enumerate(outcome.steps)
        if not all(isinstance(rank, Returned) for rank in step.operation.ranks)
    ]
    assert failed == [5, 8]


def test_two_runs_are_equal(world: SimulatedWorld) -> None:
    assert run_history(world, LONG) == run_history(world, LONG)


def test_story_tells_what_overtakes_too(world: SimulatedWorld) -> None:
    outcome = run_history(world, LONG)
    steps = list(outcome.steps)
    steps[3] = replace(steps[3], contents=())
    (breach,) = judge_history(LONG, replace(outcome, steps=tuple(steps)))
    assert (breach.kind, breach.step) == (MemoryShows, 3)
    text = str(breach.violation())
    assert "step 4: 2 ranks save to 'a', where step 1 was to be seen, by async_save, which begins when" in text
    assert "step 5: 2 ranks load 'a', where step 1 is to be seen" in text
    assert "step 6: " not in text


def test_hang_is_the_save_s_that_is_overtaken(world: SimulatedWorld) -> None:
    fails = Save("a", UPLOAD, faults=(Fault("save", 1, "writer.reset"),), overtaken=True)
    history = History(ENTRIES, (fails, Save("b", TWO), Load("b", TWO)))
    outcome = run_history(world, history)
    assert len(outcome.steps) == 1
    (breach,) = judge_history(history, outcome)
    known = find_history_issue(breach)
    assert known is not None
    assert known.id == "reset-unprotected"
    assert "step 1: 2 ranks save to 'a', where nothing was to be seen" in str(breach.violation())


def test_fault_of_a_rank_that_then_hangs_is_known_to_be_reached(either: ExampleWorld) -> None:
    """What it raises never arrives, which is known; but it took what it had reached with it."""
    fault = Fault("save", 1, "writer.storage_meta", error="Ununpicklable")
    history = History((TensorEntry("a"),), (Save(operation=UPLOAD, faults=(fault,), overtaken=True), Load("a", TWO)))
    [breach] = find_history_breaches(history, either)
    known = find_history_issue(breach)
    assert known is not None
    assert known.id == "unpicklable-exception"
    assert [hit.index for hit in breach.outcome.steps[0].operation.hits] == [0]


@pytest.mark.parametrize("rank", [0, 1])
def test_what_overtakes_a_save_that_hangs_is_not_taken_for_its_own(rank: int, either: ExampleWorld) -> None:
    """Both save to one place; and it may be the rank that hangs which had looked at the disk in between."""
    fault = Fault("save", rank, "writer.storage_meta", error="Unpicklable")
    steps = (Save(operation=UPLOAD, faults=(fault,), overtaken=True), Save(operation=UPLOAD))
    for breach in find_history_breaches(History((TensorEntry("a"),), steps), either):
        known = find_history_issue(breach)
        assert known is not None, breach.violation()
        assert known.id == "unpicklable-exception"


@pytest.mark.parametrize("threads", [1, 2])
def test_save_that_is_staged_over_is_known_and_others_are_not(threads: int, world: SimulatedWorld) -> None:
    """With several threads, files are not compared: then it shows in the load."""
    issue = HISTORY_ISSUES["staged-over-an-upload"]
    steps = (*issue.history.steps, Load("a"))
    history = replace(issue.history, steps=steps, writer=WriterOptions(thread_count=threads))
    (breach,) = find_history_breaches(history, world)
    assert breach.step == (0 if threads == 1 else 2)
    assert find_history_issue(breach) is issue
    one, other, load = steps
    assert isinstance(other, Save)
    new = replace(history, steps=(one, replace(other, again=()), load))
    assert find_history_breaches(new, world) == ()
    assert find_history_issue(replace(breach, history=new)) is None


def test_save_that_is_staged_over_is_known_behind_one_that_is_refused(world: SimulatedWorld) -> None:
    """Found by a campaign: a save that is not to overwrite writes nothing, and the load sees the one before it."""
    issue = HISTORY_ISSUES["staged-over-an-upload"]
    one, other = issue.history.steps
    steps = (one, replace(other, at="a"), Save(overwrite=False), Load("a"))
    history = replace(issue.history, steps=steps, writer=WriterOptions(thread_count=2))
    (breach,) = find_history_breaches(history, world)
    assert breach.step == 3
    assert find_history_issue(breach) is issue
    overwriting = replace(history, steps=(*steps[:2], Save(), Load("a")))
    assert find_history_breaches(overwriting, world) == ()
    written = (*breach.outcome.steps[:2], run_history(world, overwriting).steps[2], breach.outcome.steps[3])
    new = replace(breach, history=overwriting, outcome=replace(breach.outcome, steps=written))
    assert find_history_issue(new) is None


def test_save_that_is_staged_over_is_known_behind_one_that_fails_in_its_plan(world: SimulatedWorld) -> None:
    """Found by a campaign: it writes nothing either."""
    issue = HISTORY_ISSUES["staged-over-an-upload"]
    fails = Save("a", faults=(Fault("save", 0, "planner.set_up_planner"),))
    history = replace(issue.history, steps=(*issue.history.steps, fails, Load("a")))
    history = replace(history, writer=WriterOptions(thread_count=2))
    (breach,) = find_history_breaches(history, world)
    assert breach.step == 3
    assert find_history_issue(breach) is issue


def test_save_that_is_staged_over_is_known_behind_one_that_fails_as_it_writes(world: SimulatedWorld) -> None:
    """Found by a campaign: what is asked for was not saved by the one that has failed, which may be seen too."""
    issue = HISTORY_ISSUES["staged-over-an-upload"]
    one, other = issue.history.steps
    fails = Save("a", without=("a",), faults=(Fault("save", 0, "planner.finish_plan"),))
    history = replace(issue.history, steps=(one, replace(other, at="a"), fails, Load("a")), storage="memory")
    (breach,) = find_history_breaches(history, world)
    assert breach.step == 3
    assert find_history_issue(breach) is issue


def test_save_that_is_staged_over_is_known_in_part(world: SimulatedWorld) -> None:
    """Found by a campaign: the object that a load holds is of the save that has failed, and the tensor is not."""
    staged = Operation(2, api="async", stager="default")
    steps = (
        Save("b", staged, overtaken=True),
        Save(operation=staged, again=("stager", "tensors")),
        Save("b", Operation(2), faults=(Fault("save", 1, "writer.write_data"),)),
        Load("b"),
    )
    history = History((ObjectEntry("b"), TensorEntry("a")), steps, WriterOptions(thread_count=2))
    *_, breach = find_history_breaches(history, world)
    assert breach.kind is WrongBits
    assert find_history_issue(breach) is HISTORY_ISSUES["staged-over-an-upload"]
    anew = replace(history, steps=(steps[0], replace(steps[1], again=()), *steps[2:]))
    assert find_history_issue(replace(breach, history=anew)) is None


def test_writer_that_overtakes_is_where_it_was_told(world: SimulatedWorld) -> None:
    """Found by a campaign: the next save took it to be where the save that it had overtaken was uploaded then."""
    upload = Save("b", Operation(api="async"), again=("writer",), overtaken=True)
    without_id = Save("b", Operation(named_by="storage"), again=("writer",))
    assert find_history_breaches(History((TensorEntry("a"),), (Save(), upload, Save(), without_id)), world) == ()


def test_save_that_is_staged_over_is_known_where_another_rank_fails(world: SimulatedWorld) -> None:
    issue = HISTORY_ISSUES["staged-over-an-upload"]
    one, other = (
        replace(step, operation=replace(step.operation, members=(), world_size=2)) for step in issue.history.steps
    )
    assert isinstance(one, Save)
    fails = replace(one, faults=(Fault("save", 1, "planner.resolve_data"),))
    history = replace(issue.history, entries=(TensorEntry("a"), TensorEntry("b")), steps=(fails, other))
    assert [find_history_issue(breach) for breach in find_history_breaches(history, world)] == [issue]


def test_save_that_is_overtaken_at_its_place_is_over_what_was_later(world: SimulatedWorld) -> None:
    """Found by the law itself: a directory that is there by then need not be made, and metadata are removed."""
    for call, returned in (("directory.mkdir", True), ("metadata.remove", False)):
        fails = Save(operation=Operation(api="async"), file_faults=(FileFault("save", 0, call),), overtaken=True)
        history = History((TensorEntry("a"),), (fails, Save()))
        outcome = run_history(world, history)
        assert judge_history(history, outcome) == ()
        assert outcome.steps[0].operation.returned == returned
