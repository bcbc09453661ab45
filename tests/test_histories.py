"""Histories: as data, as drawn, as run, as the model has them, as judged and told, and what is known to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import find, given, settings

import worlds
from campaign.planted.bug import plant
from campaign.planted.catalogue import CATALOGUE
from properties.history_issues import HISTORY_ISSUES, HistoryIssue, find_history_breaches, find_history_issue
from properties.history_model import NOTHING, Sight, sight_text, walk
from properties.judge_history import AtAnotherPlace, HistoryBreach, MemoryShows, UnderAnotherName, judge_history
from properties.judge_killed import EarlierChanged, MixedCheckpoint, NeitherOldNorNew, UnnamedFailure
from properties.judge_sequence import compare_caching
from properties.ledger import torch_release
from properties.sequence_issues import find_sequence_issue
from properties.violations import NotLoaded, NotRefused, UnexpectedFailure, Violation
from strategies import histories
from strategies.histories import with_operation
from worlds import (
    ChunkSharding,
    Fault,
    FileFault,
    InvalidScenario,
    MeshSharding,
    Nested,
    ObjectEntry,
    Operation,
    Plain,
    PlannerOptions,
    ProcessWorld,
    Schedule,
    Shard,
    SimulatedWorld,
    TensorEntry,
    WriterOptions,
    calls,
)
from worlds.codec import from_json, to_json
from worlds.example import ExampleWorld
from worlds.histories import Again, History, HistoryOutcome, Load, Save, StepOutcome
from worlds.outcome import ErrorRecord, OperationOutcome, Raised, RankOutcome, Returned, TensorState
from worlds.processes.sequences import run_sequence
from worlds.run_history import run_history
from worlds.scenario import Scenario
from worlds.sequences import SaveSequence

TWO = Operation(2)
ROWS = ChunkSharding(0, (0, 1, 2))
ENTRIES = (TensorEntry("a", (4,), saved=ROWS), TensorEntry("b", (3,), "bool"), ObjectEntry("c", b"x", "BytesIO"))
FAILS = (Fault("save", 1, "writer.finish"), Fault("save", 0, "writer.finish"))
LONG = History(
    ENTRIES,
    (
        Save("a", TWO),
        Save("a", TWO, faults=FAILS, again=("planner",)),
        Load("a", Operation(3)),
        Load("b", TWO),
        Save("b", Operation(2, api="async", stager="default"), without=("a",), again=("writer", "planner")),
        Save("b", TWO, overwrite=False),
        Load("b", TWO, partial=True, again=("reader", "planner")),
        Load("a", Operation(distributed=False)),
    ),
)
NAMES = {**vars(worlds), "History": History, "Save": Save, "Load": Load}
FEW = settings(database=None, max_examples=300)
ISSUES = pytest.mark.parametrize("issue", HISTORY_ISSUES.values(), ids=lambda issue: issue.id)


@pytest.fixture(params=["simulated", "processes"])
def either(request: pytest.FixtureRequest) -> ExampleWorld:
    """Each of the two worlds in turn."""
    world: ExampleWorld = request.getfixturevalue(request.param)
    return world


@given(history=histories())
@settings(max_examples=60, database=None)
def test_is_plain_data(history: History) -> None:
    assert eval(repr(history), NAMES) == history
    assert from_json(to_json(history), History) == history


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Save("a/b"), "no name for a checkpoint: 'a/b'"),
        (lambda: Save(again=("reader",)), "a save uses no reader again"),
        (lambda: Load(again=("writer",)), "a load uses no writer or stager or tensors again"),
        (lambda: Save(operation=Operation(api="uncoordinated")), "ranks that coordinate"),
        (lambda: Save(overwrite=False, faults=(Fault("save", 0, "writer.finish"),)), "has no faults"),
        (lambda: Load(faults=(Fault("save", 0, "writer.finish"),)), "a load has faults of its own only"),
        (lambda: History(ENTRIES, (Save(without=("d",)),)), "step 1 is without what is not there"),
        (lambda: History((TensorEntry("a", saved=Plain((1,))),), (Save(),)), "on some ranks only"),
    ],
)
def test_what_is_no_history_is_refused_in_one_line(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidScenario, match=says):
        make()


def test_corrupt_file_gets_one_clear_line() -> None:
    with pytest.raises(InvalidScenario, match=r"^the scenario at steps\[0\] must be an object whose \"is\" is one of"):
        from_json('{"format": 1, "steps": [{"at": "a"}]}', History)


def _leaves(scenario: Scenario) -> list[TensorEntry | ObjectEntry]:
    return [entry for entry in scenario.entries if not isinstance(entry, Nested)]


def test_entries_are_held_by_the_ranks_of_each_step_and_have_its_values() -> None:
    on_mesh = TensorEntry("m", (4,), saved=MeshSharding((3,), (Shard(0),)))
    history = replace(LONG, entries=(ENTRIES[0], on_mesh))
    first, third, last = history.scenario(0), history.scenario(2), history.scenario(7)
    assert [entry.layout("save") for entry in _leaves(first)] == [
        ChunkSharding(0, (0, 1)),
        MeshSharding((2,), (Shard(0),)),
    ]
    assert all(entry.layout("load") is None for entry in _leaves(first))
    assert all(entry.layout("load") == Plain() for entry in (*_leaves(third), *_leaves(last)))
    steps = [entry.step for entry in history.read_of(2, 1).entries if isinstance(entry, TensorEntry)]
    assert steps == [2, 2]


@pytest.mark.thorough
def test_shrinks_to_one_save_by_one_rank() -> None:
    assert find(histories(), lambda _: True, settings=FEW) == History((TensorEntry("a"),), (Save(),))
    failed = find(histories(), lambda history: any(step.faults for step in history.steps), settings=FEW)
    assert len(failed.steps) == 1


@pytest.mark.thorough
def test_load_over_what_was_broken_is_drawn_in_few_steps() -> None:
    def broken(history: History) -> bool:
        steps = [(step.name, step.at, bool(step.faults)) for step in history.steps]
        story = [("save", "a", False), ("save", "a", True), ("load", "a", False)]
        return any(steps[start : start + 3] == story for start in range(len(steps)))

    assert len(find(histories(), broken, settings=settings(FEW, max_examples=2000)).steps) == 3


def test_step_that_goes_to_fewer_ranks_fails_on_those_that_are_there() -> None:
    """Found as many were drawn: one in some thousands was no history."""
    at_hooks = tuple(Fault("save", rank, "writer.write_data") for rank in range(3))
    of_files = tuple(FileFault("save", rank, "data.open") for rank in range(3))
    fails = with_operation(Save(operation=Operation(3), faults=at_hooks), TWO)
    assert fails == Save(operation=TWO, faults=at_hooks[:2])
    below = with_operation(Save(operation=Operation(3), file_faults=of_files), TWO)
    assert below == Save(operation=TWO, file_faults=of_files[:2])
    assert History(ENTRIES, (fails, below)).steps == (fails, below)


def test_model_knows_what_may_be_seen() -> None:
    story = [sight_text(sight) for _, sight in walk(LONG, {0: True, 1: False, 4: True, 5: None})]
    assert story[:4] == ["nothing", "step 1", "step 1 or step 2 or a failure", "nothing"]
    assert story[4:] == ["nothing", "step 5", "step 5", "step 1 or step 2 or a failure"]
    assert not NOTHING.after(0, returned=False).is_whole
    assert Sight(frozenset({0}), may_fail=False).is_whole
    assert NOTHING.after(3, returned=True) == Sight(frozenset({3}), may_fail=False)


def test_long_history_comes_to_what_the_model_says(either: ExampleWorld) -> None:
    outcome = run_history(either, LONG)
    assert judge_history(LONG, outcome) == ()
    ended = [all(isinstance(rank, Returned) for rank in step.operation.ranks) for step in outcome.steps]
    assert ended == [True, False, True, False, True, False, True, True]
    assert outcome.steps[5].changed == ()


def test_two_runs_are_equal(world: SimulatedWorld) -> None:
    assert run_history(world, LONG) == run_history(world, LONG)


def test_what_is_used_again_is_the_same_and_what_is_not_is_new(world: SimulatedWorld) -> None:
    made: list[object] = []
    real = calls.make_writer

    def spy(*args: object) -> object:
        made.append(real(*args))  # type: ignore[arg-type]
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "make_writer", spy)
        cases: list[tuple[tuple[Again, ...], int]] = [((), 3), (("writer",), 1)]
        for again, writers in cases:
            made.clear()
            steps = tuple(Save(at, again=again) for at in ("a", "b", "a"))
            outcome = run_history(world, History(ENTRIES, steps))
            assert len(made) == writers + len(steps) - 1, "those of each later save alone"
            assert all(step.operation.returned for step in outcome.steps)


ALONE = Operation(2, named_by="storage")
UPLOAD_ALONE = replace(ALONE, api="async")
NAMED_BY_STORAGE = History(
    tuple(entry for entry in ENTRIES if isinstance(entry, TensorEntry)),  # a BytesIO is not staged
    (
        Save("a", TWO),
        Save("b", TWO, again=("writer",)),
        Save("b", ALONE, again=("writer",)),
        Save("b", UPLOAD_ALONE, again=("writer",), faults=(Fault("save", 0, "writer.reset"),)),
        Load("b", ALONE, again=("reader",)),
        Load("a", TWO, again=("reader",)),
        Load("a", ALONE, again=("reader",)),
        Load("b", ALONE, again=("reader",)),
    ),
)


def test_storage_that_is_given_alone_is_where_the_call_before_has_told_it(either: ExampleWorld) -> None:
    outcome = run_history(either, NAMED_BY_STORAGE)
    assert judge_history(NAMED_BY_STORAGE, outcome) == ()
    assert len(outcome.steps) == len(NAMED_BY_STORAGE.steps)
    assert not any(step.operation.hits for step in outcome.steps), "nobody calls reset() of what is told no path"


def test_writer_that_forgets_where_it_was_told_to_be_is_found(world: SimulatedWorld) -> None:
    with plant(CATALOGUE["save-by-storage-alone-goes-to-where-its-writer-was-made-for"]):
        breaches = judge_history(NAMED_BY_STORAGE, run_history(world, NAMED_BY_STORAGE))
    assert breaches[0].step == 2


def test_storage_that_failed_to_be_told_is_not_given_alone(world: SimulatedWorld) -> None:
    """Nobody knows where it is."""
    fails = Save("b", again=("writer",), faults=(Fault("save", 0, "writer.reset"),))
    after = Save("b", Operation(named_by="storage"), again=("writer",))
    history = History((TensorEntry("a"),), (Save(), fails, after, Load("b")))
    assert [breach.step for breach in find_history_breaches(history, world)] == [1], "which is not protected"


def test_storage_of_an_upload_that_was_not_staged_is_not_given_alone(world: SimulatedWorld) -> None:
    """It was told nothing, since staging fails before."""
    upload = Save("b", Operation(api="async", stager="default"), again=("writer",))
    after = Save("b", Operation(named_by="storage"), again=("writer",))
    history = History((TensorEntry("a", (1,), saved=ChunkSharding(0, (0,))),), (Save(), upload, after, Load("b")))
    assert [breach.step for breach in find_history_breaches(history, world)] == [1], "which cannot be staged"


def test_tensors_used_again_have_the_values_of_their_step(world: SimulatedWorld) -> None:
    by = Operation(api="async", stager="default")
    steps = (Save("a", by), Save("a", by, again=("tensors", "stager")), Load("a"))
    history = History((TensorEntry("a", (3,)),), steps)
    assert judge_history(history, run_history(world, history)) == ()


def _with(outcome: HistoryOutcome, index: int, step: StepOutcome) -> HistoryOutcome:
    steps = list(outcome.steps)
    steps[index] = step
    return HistoryOutcome(tuple(steps))


def _ended(step: StepOutcome, *ranks: RankOutcome) -> StepOutcome:
    return replace(step, operation=OperationOutcome(ranks))


def _named(phase: str, *ranks: int) -> Raised:
    failures = tuple((rank, ErrorRecord("OSError", "x")) for rank in ranks)
    return Raised(ErrorRecord("torch.distributed.checkpoint.api.CheckpointException", ""), phase, failures)


def _other_bits(seen: StepOutcome) -> StepOutcome:
    """As it is, but for one element of the first tensor on rank 0."""
    first = seen.operation.ranks[0]
    assert isinstance(first, Returned)
    tensor = first.state[0]
    assert isinstance(tensor, TensorState)
    chunk = tensor.chunks[0]
    changed = replace(chunk, data=bytes(byte ^ 0x70 for byte in chunk.data[:4]) + chunk.data[4:])
    state = (replace(tensor, chunks=(changed, *tensor.chunks[1:])), *first.state[1:])
    return _ended(seen, replace(first, state=state), *seen.operation.ranks[1:])


def _with_another_file(seen: StepOutcome) -> StepOutcome:
    """As it is, but for one file more that it has written."""
    contents = (*seen.contents, ("__7_0.distcp", "a digest"))
    return replace(seen, changed=(*seen.changed, "a/__7_0.distcp"), contents=contents)


CHANGES: list[tuple[int, Callable[[StepOutcome], StepOutcome], type[Violation]]] = [
    (0, lambda seen: replace(seen, contents=()), MemoryShows),
    (0, _with_another_file, MemoryShows),
    (0, lambda seen: replace(seen, metadata=None), MemoryShows),
    (0, lambda seen: _ended(seen, _named("write", 1), _named("write", 1)), MemoryShows),
    (0, lambda seen: replace(seen, changed=("b/.metadata",)), EarlierChanged),
    (2, lambda seen: replace(seen, changed=("a/.metadata",)), EarlierChanged),
    (2, _other_bits, Violation),
    (2, lambda seen: _ended(seen, *seen.operation.ranks[:2], _named("read", 2)), Violation),
    (3, lambda seen: _ended(seen, Returned(()), Returned(())), NeitherOldNorNew),
    (3, lambda seen: _ended(seen, _named("plan", 0), _named("plan", 1)), UnexpectedFailure),
    (5, lambda seen: _ended(seen, Returned(()), Returned(())), NotRefused),
    (5, lambda seen: _ended(seen, _named("plan", 0), _named("plan", 0)), UnnamedFailure),
    (5, lambda seen: replace(seen, changed=("b/__0_0.distcp",)), EarlierChanged),
    (6, lambda seen: _ended(seen, _named("read", 0), _named("read", 0)), UnexpectedFailure),
]


@pytest.mark.parametrize(("index", "change", "kind"), CHANGES)
def test_any_other_outcome_is_a_violation_that_tells_the_story(
    index: int, change: Callable[[StepOutcome], StepOutcome], kind: type[Violation], world: SimulatedWorld
) -> None:
    outcome = run_history(world, LONG)
    changed = _with(outcome, index, change(outcome.steps[index]))
    breach = judge_history(LONG, changed)[0]
    assert issubclass(breach.kind, kind), breach.violation()
    assert breach.step == index
    assert find_history_issue(breach) is None
    text = str(breach.violation())
    assert text.startswith(f"step {index + 1} of 8: ")
    assert "history = History(" in text
    assert text.count("\nstep ") == index + 1


def test_failure_by_name_is_as_good_as_old_or_new_after_a_save_that_failed(world: SimulatedWorld) -> None:
    outcome = run_history(world, LONG)
    failed = _ended(outcome.steps[2], *[_named("read", 0)] * 3)
    assert judge_history(LONG, _with(outcome, 2, failed)) == ()


def test_outcome_of_another_history_is_an_error(world: SimulatedWorld) -> None:
    outcome = run_history(world, LONG)
    with pytest.raises(ValueError, match="ended at a step at which nothing was wrong"):
        judge_history(LONG, HistoryOutcome(outcome.steps[:3]))
    with pytest.raises(ValueError, match="not run alone"):
        judge_history(LONG, _with(outcome, 0, replace(outcome.steps[0], alone=None)))


def test_history_ends_where_its_ranks_do(world: SimulatedWorld) -> None:
    hangs = Save("a", TWO, faults=(Fault("save", 1, "writer.reset"),))
    history = History(ENTRIES, (Save("a", TWO), hangs, Load("a", TWO)))
    outcome = run_history(world, history)
    assert len(outcome.steps) == 2
    (breach,) = judge_history(history, outcome)
    known = find_history_issue(breach)
    assert known is not None
    assert known.id == "reset-unprotected"


def test_hang_is_told_also_where_nobody_knows_what_is_to_be_seen(world: SimulatedWorld) -> None:
    """Found by the law itself: a save that loses a failure was taken for the reason not to look at what hangs later."""
    lost = Save(
        operation=Operation(2, schedule=Schedule(threads_first=True)),
        faults=(Fault("save", 0, "planner.resolve_data"),),
    )
    hangs = Load(operation=TWO, faults=(Fault("load", 0, "reader.reset"),))
    history = History((TensorEntry("a"),), (lost, hangs, Save()), WriterOptions(False, thread_count=2))
    known = [find_history_issue(breach) for breach in judge_history(history, run_history(world, history))]
    assert [issue and issue.id for issue in known] == ["second-writer-thread", "reset-unprotected"]


def _breach_of(issue: HistoryIssue, world: ExampleWorld) -> HistoryBreach:
    breaches = find_history_breaches(issue.history, world)
    assert breaches, f"this torch no longer shows it: set fixed_in of {issue.id!r}"
    return breaches[0]


@ISSUES
def test_minimal_history_shows_the_issue(issue: HistoryIssue, either: ExampleWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    breach = _breach_of(issue, either)
    assert find_history_issue(breach) is issue, breach.violation()
    assert breach.step == issue.history.order[-1]
    assert eval(repr(issue.history), NAMES) == issue.history
    for shorter in range(len(issue.history.steps)):
        left = issue.history.steps[:shorter] + issue.history.steps[shorter + 1 :]
        if left and isinstance(left[-1], Save):  # which nothing is left to overtake
            left = (*left[:-1], replace(left[-1], overtaken=False))
        assert not find_history_breaches(replace(issue.history, steps=left), either), "a step can be left out"


def test_mixture_is_told_element_by_element(world: SimulatedWorld) -> None:
    breach = _breach_of(HISTORY_ISSUES["mixed-after-failure"], world)
    assert breach.kind is MixedCheckpoint
    assert str(breach.violation()).splitlines()[-1] == "holds     'a' on rank 0: 1 of step 1, 1 of step 2"


def test_what_nobody_has_saved_is_no_mixture(world: SimulatedWorld) -> None:
    issue = HISTORY_ISSUES["mixed-after-failure"]
    outcome = run_history(world, issue.history)
    (breach,) = judge_history(issue.history, _with(outcome, 2, _other_bits(outcome.steps[2])))
    assert breach.kind is not MixedCheckpoint
    assert find_history_issue(breach) is None


def test_tensor_in_the_place_of_another_is_told_by_its_name(world: SimulatedWorld) -> None:
    breach = _breach_of(HISTORY_ISSUES["names-mixed-after-failure"], world)
    assert breach.kind is UnderAnotherName
    assert breach.headline == "the load succeeds, and holds under 'a' what was saved under another name"


def test_elements_at_other_places_are_told_from_those_of_another_name(world: SimulatedWorld) -> None:
    """Found by a campaign: a part that a failed save has left is read for the parts behind it."""
    breach = _breach_of(HISTORY_ISSUES["places-mixed-after-failure"], world)
    assert breach.kind is AtAnotherPlace
    assert breach.headline == "the load succeeds, and holds elements of 'a' at other places than they were saved"
    first, _, load = breach.history.steps
    for failing in (first, replace(first, without=("a",), faults=(Fault("save", 0, "writer.finish"),))):
        same = replace(breach, history=replace(breach.history, steps=(first, failing, load)))
        assert find_history_issue(same) is None, "the failed save is of no other parts"


def test_element_at_another_place_may_be_as_it_was_before(world: SimulatedWorld) -> None:
    """Found by a campaign: a number of two values that was read from another place is the one that was there."""
    entry = TensorEntry("a", (3,), "bool", saved=ChunkSharding(0, (0, 1, 2)))
    failing = Save(operation=Operation(3), faults=(Fault("save", 0, "writer.write_data"),))
    history = History((entry,), (Save(operation=Operation(2)), failing, Load()))
    (breach,) = find_history_breaches(history, world)
    assert breach.kind is NotLoaded
    assert find_history_issue(breach) is HISTORY_ISSUES["places-mixed-after-failure"]
    first, _, load = history.steps
    alike = replace(failing, operation=Operation(2))
    assert find_history_issue(replace(breach, history=replace(history, steps=(first, alike, load)))) is None
    numbers = replace(history, entries=(replace(entry, dtype="float32"),))
    assert find_history_issue(replace(breach, history=numbers)) is None, "what was there is of no save"


def test_tensor_in_the_place_of_one_of_another_dtype_is_told_by_its_name(world: SimulatedWorld) -> None:
    """Found by a campaign: a load copies it into the dtype that is there."""
    fails = Save(without=("b",), file_faults=(FileFault("save", 0, "metadata.write"),))
    entries = (TensorEntry("b", (1,), "complex128"), TensorEntry("a", (1,)))
    history = History(entries, (Save(), fails, Load()), writer=WriterOptions(single_file_per_rank=False))
    (breach,) = find_history_breaches(history, world)
    assert breach.kind is UnderAnotherName
    assert find_history_issue(breach) is HISTORY_ISSUES["names-mixed-after-failure"]


def test_tensor_in_the_place_of_another_is_told_beside_one_that_is_not_there(world: SimulatedWorld) -> None:
    """Found by a campaign: what the first save has not, and so is not loaded, is no reason to look at that alone."""
    fails = Save(operation=Operation(2), faults=(Fault("save", 1, "writer.write_data"),))
    entries = (TensorEntry("a", (1,)), TensorEntry("r", (1,)))
    history = History(entries, (Save(without=("a",)), fails, Load(partial=True)))
    (breach,) = find_history_breaches(history, world)
    assert breach.kind is UnderAnotherName
    assert breach.headline == "the load succeeds, and holds under 'r' what was saved under another name"
    assert find_history_issue(breach) is HISTORY_ISSUES["names-mixed-after-failure"]


def test_element_that_is_of_no_name_is_not_one_of_another(world: SimulatedWorld) -> None:
    history = HISTORY_ISSUES["names-mixed-after-failure"].history
    outcome = run_history(world, history)
    (breach,) = judge_history(history, _with(outcome, 2, _other_bits(outcome.steps[2])))
    assert breach.kind is not UnderAnotherName
    assert find_history_issue(breach) is None


def test_names_are_mixed_also_where_a_file_is_for_each_tensor(world: SimulatedWorld) -> None:
    """And where the save that fails below the storage is of some of the names."""
    fault = FileFault("save", 0, "data.fsync")
    steps = (Save(), Save(without=("a",), file_faults=(fault,)), Load())
    history = History((TensorEntry("a"), TensorEntry("b")), steps, WriterOptions(False, sync_files=True))
    (breach,) = find_history_breaches(history, world)
    assert find_history_issue(breach) is HISTORY_ISSUES["names-mixed-after-failure"]


def test_load_shows_what_caching_has_done_to_a_save_by_several_threads(world: SimulatedWorld) -> None:
    """Which of them writes which file is not held, so that the save itself passes for what it is alone."""
    other = Save(operation=Operation(2, coordinator=1, api="legacy"), without=("a", "b"))
    history = History(
        (TensorEntry("a"), TensorEntry("b")),
        (Save(operation=Operation(2)), other, Save(operation=Operation(2)), Load()),
        writer=WriterOptions(False, thread_count=2),
        planner=PlannerOptions(enable_plan_caching=True),
    )
    (breach,) = find_history_breaches(history, world)
    known = find_history_issue(breach)
    assert breach.step == 3
    assert known is not None
    assert known.id == "caching-across-saves"
    assert find_history_issue(replace(breach, goes_without_caching=False)) is None


def test_load_shows_what_caching_has_done_to_a_save_in_memory(world: SimulatedWorld) -> None:
    """Found by a campaign: what lies in no files is compared with nothing when it is saved."""
    two = Operation(2)
    other = Save(operation=Operation(2, coordinator=1, api="legacy"), without=("a",))
    steps = (Save(operation=two), other, Save(operation=two), Load())
    planner = PlannerOptions(enable_plan_caching=True)
    (breach,) = find_history_breaches(History((TensorEntry("a"),), steps, planner=planner, storage="memory"), world)
    known = find_history_issue(breach)
    assert known is not None
    assert known.id == "caching-across-saves"


def test_caching_is_blamed_where_nothing_breaks_without_it(world: SimulatedWorld) -> None:
    """A save of other entries with plans kept is ``caching-across-saves``; a mixture is one with and without."""
    caching = PlannerOptions(enable_plan_caching=True)
    issue = HISTORY_ISSUES["mixed-after-failure"]
    (breach,) = find_history_breaches(replace(issue.history, planner=caching), world)
    assert not breach.goes_without_caching
    assert find_history_issue(breach) is issue


def test_caching_is_blamed_where_the_same_law_breaks_otherwise_without_it(world: SimulatedWorld) -> None:
    """Found by a campaign: the second save lacks its plan, or else would have written what is staged over it."""
    fails = Save(faults=(Fault("save", 0, "writer.prepare_global_plan"),))
    staged_over = HISTORY_ISSUES["staged-over-an-upload"].history.steps
    history = History((TensorEntry("a"),), (fails, *staged_over), planner=PlannerOptions(enable_plan_caching=True))
    issue = HISTORY_ISSUES["cached-plans-after-failure"]
    assert {find_history_issue(breach) for breach in find_history_breaches(history, world)} == {issue}


def test_rank_that_fails_by_itself_beside_one_without_a_plan_is_the_same_issue(world: SimulatedWorld) -> None:
    """Found by a campaign. One that is not made to fail is not excused."""
    first = Save(operation=Operation(2), faults=(Fault("save", 0, "planner.finish_plan"),))
    second = Save(operation=Operation(2), faults=(Fault("save", 1, "writer.write_data"),))
    history = History((TensorEntry("a"),), (first, second), planner=PlannerOptions(enable_plan_caching=True))
    (breach,) = find_history_breaches(history, world)
    assert find_history_issue(breach) is HISTORY_ISSUES["cached-plans-after-failure"]
    without = replace(history, steps=(first, replace(second, faults=())))
    assert find_history_issue(replace(breach, history=without)) is None


def test_caching_is_blamed_where_another_law_breaks_without_it(world: SimulatedWorld) -> None:
    """Without caching the second save goes on to where a thread's failure is lost, which is an issue of its own."""
    first = Save(operation=Operation(2), faults=(Fault("save", 0, "writer.write_data"),))
    again = Operation(2, coordinator=1, api="legacy", schedule=Schedule(threads_first=True))
    second = Save(operation=again, faults=(Fault("save", 0, "planner.resolve_data"),))
    planner = PlannerOptions(enable_plan_caching=True)
    writer = WriterOptions(single_file_per_rank=False, thread_count=2)
    (breach,) = find_history_breaches(History((TensorEntry("a"),), (first, second), writer, planner), world)
    known = find_history_issue(breach)
    assert known is not None
    assert known.id == "cached-plans-of-another-coordinator"


def test_caching_is_not_blamed_where_something_new_breaks_without_it(world: SimulatedWorld) -> None:
    """With caching the second save fails before it comes to where a planted bug names the wrong rank."""
    again = Save(operation=Operation(2, coordinator=1, api="legacy"), faults=(Fault("save", 1, "writer.finish"),))
    planner = PlannerOptions(enable_plan_caching=True)
    history = History((TensorEntry("a"),), (Save(operation=Operation(2)), again), planner=planner)
    (breach,) = find_history_breaches(history, world)
    assert find_history_issue(breach) is HISTORY_ISSUES["cached-plans-of-another-coordinator"]
    with plant(CATALOGUE["coordinator-s-failure-booked-on-rank-0"]):
        (breach,) = find_history_breaches(history, world)
    assert find_history_issue(breach) is None
    assert str(breach.violation()).splitlines()[-1].startswith("uncached  step 2: LostFailure: ")


def test_saves_that_follow_each_other_know_the_issue_too(processes: ProcessWorld) -> None:
    step = Scenario((TensorEntry("a"),))
    sequence = SaveSequence((replace(step, faults=(Fault("save", 0, "writer.prepare_global_plan"),)), step))
    plain, cached = (run_sequence(processes, sequence, caching=caching) for caching in (False, True))
    breach = compare_caching(sequence, plain, cached)
    assert breach is not None
    assert find_sequence_issue(breach) is HISTORY_ISSUES["cached-plans-after-failure"]
