"""Histories on other storages than the file system: as data, as drawn, as run, as judged, and what is known of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from properties.history_issues import HISTORY_ISSUES, find_history_breaches, find_history_issue
from properties.history_states import ZERO, saves_seen
from properties.judge_history import UnderAnotherName, judge_history
from properties.violations import WrongBits
from strategies import histories, stored_histories
from worlds import (
    ChunkSharding,
    Fault,
    InvalidScenario,
    MeshSharding,
    ObjectEntry,
    Operation,
    PlannerOptions,
    Schedule,
    Shard,
    SimulatedWorld,
    TensorEntry,
    WriterOptions,
)
from worlds.digests import digests
from worlds.example import ExampleWorld
from worlds.file_faults import FileFault
from worlds.fitting import fitted_history
from worlds.histories import History, Load, Save
from worlds.outcome import ChunkState, ErrorRecord, OperationOutcome, Raised, Returned, TensorState
from worlds.reference import CHECKPOINTS
from worlds.run_history import run_history
from worlds.storages import SERVED

TWO, WITHOUT_ID = Operation(2), Operation(2, api="legacy")
ENTRIES = (TensorEntry("a", (4,), saved=ChunkSharding(0, (0, 1))), TensorEntry("b", (3,)))
SAYS_ELSE = Raised(ErrorRecord("RuntimeError", "something else"), "write", ((0, ErrorRecord("OSError", "disk")),))
OPEN = ("fsspec", "safetensors", "consolidated")
IN_ONE_PROCESS = ("memory", "reference")


@pytest.fixture(params=["simulated", "processes"])
def either(request: pytest.FixtureRequest) -> ExampleWorld:
    """Each of the two worlds in turn."""
    world: ExampleWorld = request.getfixturevalue(request.param)
    return world


def long_history(storage: str) -> History:
    """All that the storages can: over, elsewhere, by other ranks, of a save that fails, overtaken, in part."""
    return fitted_history(
        History(
            ENTRIES,
            (
                Save("a", WITHOUT_ID),
                Load("a", Operation(3)),
                Save("a", WITHOUT_ID),
                Load("a", TWO, without=("b",), again=("planner", "reader")),
                Save("a", WITHOUT_ID, faults=(Fault("save", 1, "planner.create_local_plan"),)),
                Load("a", Operation(distributed=False)),
                Save("b", WITHOUT_ID, again=("planner",)),
                Load("b", TWO, partial=True),
            ),
        ),
        storage,
    )


@pytest.mark.parametrize("storage", OPEN)
def test_long_history_comes_to_what_the_model_says(storage: str, either: ExampleWorld) -> None:
    history = long_history(storage)
    outcome = run_history(either, history)
    breaches = judge_history(history, outcome)
    assert breaches == (), breaches[0].violation()
    ended = [all(isinstance(rank, Returned) for rank in step.operation.ranks) for step in outcome.steps]
    assert ended == [True, True, True, True, False, True, True, True]


def test_save_that_is_overtaken_comes_to_what_it_does_alone(either: ExampleWorld) -> None:
    entries = (TensorEntry("a", (4,), saved=MeshSharding((2,), (Shard(0),))), ENTRIES[1])
    steps = (Save("a", Operation(2, api="async"), overtaken=True), Save("b", TWO), Load("a", TWO), Load("b", TWO))
    for storage in ("fsspec", "safetensors"):
        history = History(entries, steps, storage=storage)
        assert judge_history(history, run_history(either, history)) == ()


@pytest.mark.parametrize("storage", [*IN_ONE_PROCESS, "threaded", "whole", SERVED])
def test_long_history_on_others_does_too(storage: str, world: SimulatedWorld) -> None:
    history = long_history(storage)
    breaches = judge_history(history, run_history(world, history))
    assert breaches == (), breaches[0].violation()


@pytest.mark.parametrize("storage", [*OPEN, *IN_ONE_PROCESS])
def test_two_runs_are_equal(storage: str, world: SimulatedWorld) -> None:
    history = long_history(storage)
    assert run_history(world, history) == run_history(world, history)


@pytest.mark.parametrize(
    ("history", "says"),
    [
        (History((), (Save(overwrite=False),)), "safetensors has no option overwrite"),
        (History((), (Load(file_faults=(FileFault("load", 0, "data.open"),)),)), "does not ask for its files as DCP"),
        (History((TensorEntry("a", dtype="complex128"),), (Save(),)), "safetensors cannot hold 'a'"),
        (History((), (Save(),), WriterOptions(single_file_per_rank=False)), "has no option single_file_per_rank"),
    ],
)
def test_what_the_storage_does_not_support_is_no_history(history: History, says: str) -> None:
    with pytest.raises(InvalidScenario, match=says):
        replace(history, storage="safetensors")
    assert fitted_history(history, "safetensors").storage == "safetensors", "the nearest one is"


def test_storage_that_is_not_there_has_no_history() -> None:
    with pytest.raises(InvalidScenario, match=r"^the storage somewhere:else cannot be made"):
        History((), (Save(),), storage="somewhere:else")


def test_what_failed_over_it_leaves_a_checkpoint_of_the_reference_as_it_was(world: SimulatedWorld) -> None:
    """DCP does nothing by itself to what a storage that keeps a checkpoint whole has: no mixture is DCP's own fault."""
    fails = Save("a", TWO, faults=(Fault("save", 0, "writer.write_data"),))
    history = History(ENTRIES, (Save("a", TWO), fails, Load("a", Operation(3))), storage="reference")
    outcome = run_history(world, history)
    assert judge_history(history, outcome) == ()
    whole = replace(history, steps=(history.steps[0], history.steps[2]))
    assert run_history(world, whole).steps[-1].operation.ranks == outcome.steps[-1].operation.ranks


@pytest.mark.parametrize("storage", ["memory", "reference"])
def test_history_leaves_nothing_in_memory(storage: str, world: SimulatedWorld) -> None:
    memory: Any = import_module("fsspec").filesystem("memory")

    def kept() -> tuple[set[str], set[str], list[str]]:
        return set(CHECKPOINTS), set(memory.store), list(memory.pseudo_dirs)

    before = kept()
    run_history(world, long_history(storage))
    assert kept() == before


def test_save_by_one_is_overtaken_by_nothing_of_another_job() -> None:
    steps = (Save("a", Operation(2, api="async"), overtaken=True), Load("a", TWO))
    fitting = fitted_history(History(ENTRIES, steps), "whole")
    assert [step.operation.world_size for step in fitting.steps] == [1, 2]
    assert not fitting.is_overtaken(0)


@pytest.mark.parametrize("storage", OPEN)
def test_any_history_fits_a_storage_once(storage: str) -> None:
    @settings(max_examples=50, database=None)
    @given(history=histories())
    def draw(history: History) -> None:
        once = fitted_history(history, storage)
        assert fitted_history(once, storage) == once
        assert fitted_history(history, "file_system") == history

    draw()


@pytest.mark.parametrize("storage", OPEN)
def test_shrinks_to_one_save_on_that_storage(storage: str) -> None:
    few = settings(database=None, max_examples=100)
    smallest = find(stored_histories(names=st.just(storage)), lambda _: True, settings=few)
    by = replace(smallest.steps[0].operation, api="current", named_by="both")
    assert (smallest.entries, len(smallest.steps), by) == ((TensorEntry("a"),), 1, Operation())


def test_load_after_a_save_by_fewer_ranks_is_drawn() -> None:
    def by_fewer(history: History) -> bool:
        steps = [(step.name, step.at, step.operation.world_size) for step in history.steps]
        return any(
            [name for name, _, _ in steps[start : start + 3]] == ["save", "save", "load"]
            and len({at for _, at, _ in steps[start : start + 3]}) == 1
            and steps[start][2] > steps[start + 1][2]
            for start in range(len(steps) - 2)
        )

    some = settings(database=None, max_examples=1000, phases=[Phase.generate])
    find(stored_histories(names=st.just("safetensors")), by_fewer, settings=some)


def test_files_that_say_the_same_in_another_order_are_equal(tmp_path: Path) -> None:
    for place, header in enumerate((b'{"__metadata__":{"a":"1","b":"2"}}', b'{"__metadata__":{"b":"2","a":"1"}}')):
        content = len(header).to_bytes(8, "little") + header
        tmp_path.joinpath(f"{place}.safetensors").write_bytes(content)
        tmp_path.joinpath(f"object-{place}.safetensors").write_bytes(b"an object" + content)
    found = digests(str(tmp_path))
    assert found["0.safetensors"] == found["1.safetensors"]
    assert found["object-0.safetensors"] == found["object-1.safetensors"] != found["0.safetensors"]


def test_what_a_failing_save_takes_away_is_not_what_it_writes(world: SimulatedWorld) -> None:
    """Found by the law itself: fsspec removes a file that it could not write, also one that was there before."""
    fails = Save(operation=TWO, file_faults=tuple(FileFault("save", rank, "data.write") for rank in (0, 1)))
    history = History(ENTRIES, (Save(operation=TWO), fails), storage="fsspec")
    assert judge_history(history, run_history(world, history)) == ()


def _known(history: History, world: SimulatedWorld) -> list[str | None]:
    found = (find_history_issue(breach) for breach in find_history_breaches(history, world))
    return [None if issue is None else issue.id for issue in found]


def test_files_left_over_are_known_in_whatever_order_they_are_read(world: SimulatedWorld) -> None:
    """Which of two files is read last is the file system's: by one rank after two, all is right or it is known."""
    steps = (Save("a", TWO), Save("a"), Load("a"))
    history = History((TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1))),), steps, storage="safetensors")
    assert _known(history, world) in ([], ["safetensors-left-over"])


def test_wrong_bits_without_files_left_over_are_new(world: SimulatedWorld) -> None:
    issue = HISTORY_ISSUES["safetensors-left-over"]
    (breach,) = find_history_breaches(issue.history, world)
    steps = list(breach.outcome.steps)
    steps[1] = replace(steps[1], changed=steps[0].changed)
    assert find_history_issue(replace(breach, outcome=replace(breach.outcome, steps=tuple(steps)))) is None


def test_one_of_several_saves_that_may_be_seen_may_show_a_known_issue(world: SimulatedWorld) -> None:
    """Found by the law itself: what is loaded is the first save, of which a scalar is written as zero."""
    steps = (Save(operation=Operation(api="legacy")), Save(operation=Operation(api="legacy"), without=("a",)), Load())
    history = History((TensorEntry("a"),), steps, storage="consolidated")
    assert _known(history, world) == ["consolidated-nothing", "consolidated-scalars"]


def test_objects_make_a_file_unreadable_in_any_step(world: SimulatedWorld) -> None:
    history = History((ObjectEntry("a", "text"),), (Save(), Load()), storage="safetensors")
    assert _known(history, world) == ["safetensors-with-objects"]


def test_unreadable_file_that_is_left_over_is_known(world: SimulatedWorld) -> None:
    """An earlier save has written it, of an object that the last one leaves out."""
    history = History((ObjectEntry("j"),), (Save(), Save(without=("j",)), Load()), storage="safetensors")
    [breach] = find_history_breaches(history, world)
    known = find_history_issue(breach)
    assert known is not None
    assert known.id == "safetensors-left-over"
    tensors = replace(history, entries=(TensorEntry("j"),))
    assert find_history_issue(replace(breach, history=tensors)) is None


def test_part_of_any_of_several_saves_that_have_failed_is_known(world: SimulatedWorld) -> None:
    """It was compared with the last of them, of which it is no part."""
    fails = Save(operation=TWO, faults=(Fault("save", 1, "writer.write_data"),))
    steps = (fails, Save(operation=Operation(api="async", stager="default")), Load())
    history = History((TensorEntry("a", (2,), saved=ChunkSharding(0, (1, 0))),), steps, storage="safetensors")
    assert _known(history, world)[-1] == "safetensors-unfinished"


def test_part_of_a_save_that_has_failed_is_known_beside_what_was_left_over(world: SimulatedWorld) -> None:
    """Found by a campaign: an element is in no file, and another one is of a file of the save before."""
    entry = TensorEntry("a", (3,), saved=MeshSharding((1,), (Shard(0),)))
    fails = Save(operation=Operation(3), faults=(Fault("save", 1, "writer.write_data"),))
    history = History((entry,), (Save(operation=TWO), fails, Load()), storage="threaded")
    (breach,) = find_history_breaches(history, world)
    assert breach.kind is WrongBits
    assert _known(history, world) == ["safetensors-unfinished"]
    *others, load = breach.outcome.steps
    (seen,) = load.operation.ranks
    assert isinstance(seen, Returned)
    (state,) = seen.state
    assert isinstance(state, TensorState)
    wrong = replace(state, chunks=tuple(replace(chunk, data=bytes(len(chunk.data))) for chunk in state.chunks))
    zeros = replace(load, operation=replace(load.operation, ranks=(replace(seen, state=(wrong,)),)))
    new = replace(breach, outcome=replace(breach.outcome, steps=(*others, zeros)))
    assert find_history_issue(new) is None, "zeros are of no save, and were not there before"


@pytest.mark.parametrize("lost", [False, True], ids=["told", "lost in a thread"])
def test_empty_file_that_a_failed_save_has_left_is_known(lost: bool, world: SimulatedWorld) -> None:
    begun = replace(TWO, schedule=Schedule(threads_first=lost))
    fails = Save(operation=begun, faults=(Fault("save", 1, "planner.resolve_data"),))
    steps = (fails, Load(operation=TWO), Save(operation=TWO, without=("layers.0.weight",)), Load(operation=TWO))
    history = History((TensorEntry("layers.0.weight"), TensorEntry("a")), steps, storage="safetensors")
    history = replace(history, writer=WriterOptions(thread_count=1 + lost))
    assert "safetensors-left-over" in _known(history, world)


def test_empty_file_that_a_thread_has_left_is_known(world: SimulatedWorld) -> None:
    """Found by a campaign: a plan is kept of a save that failed, and a thread fails in silence at what it asks for."""
    fails = Save(without=("a",), faults=(Fault("save", 0, "writer.prepare_global_plan"),))
    begun = Save(operation=Operation(schedule=Schedule(threads_first=True)), without=("a",))
    history = History(
        (TensorEntry("a"),),
        (Save(), fails, begun, Load(operation=TWO), Save(without=("a",)), Load(partial=True)),
        writer=WriterOptions(thread_count=2),
        planner=PlannerOptions(enable_plan_caching=True),
        storage="whole",
    )
    assert _known(history, world) == ["caching-across-saves", "safetensors-left-over"]


_HALVES = TensorEntry("w", (2,), saved=ChunkSharding(0, (0, 1)))
_LEGACY = Operation(api="legacy")
_FAILS_LATE = Save(operation=TWO, faults=(Fault("save", 1, "writer.write_data"),))
_FAILS_EARLY = Save(operation=TWO, faults=(Fault("save", 1, "planner.resolve_data"),))


@pytest.mark.parametrize(
    ("entries", "steps"),
    [
        ((_HALVES, TensorEntry("y")), (_FAILS_LATE, Save(without=("w", "y")), Load(partial=True))),
        (
            (replace(_HALVES, saved=ChunkSharding(0, (1, 0))),),
            (Save(operation=Operation(2, coordinator=1, api="legacy")), Save(), Load()),
        ),
        (
            (TensorEntry("w"),),
            (Save(), Save(without=("w",)), Load(partial=True, faults=(Fault("load", 0, "planner.resolve_tensor"),))),
        ),
        (
            (TensorEntry("w", (0,), saved=ChunkSharding(0, (1,))),),
            (_FAILS_EARLY, Save(), Load(operation=TWO, faults=(Fault("load", 0, "reader.read_metadata"),))),
        ),
        (
            (TensorEntry("w", (0,), saved=ChunkSharding(0, (1,))),),
            (_FAILS_EARLY, Save(), Load(faults=(Fault("load", 0, "planner.commit_tensor", "Ununpicklable"),))),
        ),
    ],
    ids=["plans for a part", "a part beside the whole", "has something to read", "beside a fault", "before a fault"],
)
def test_loads_fail_on_what_was_left_over(
    entries: tuple[TensorEntry, ...], steps: tuple[Save | Load, ...], world: SimulatedWorld
) -> None:
    """Found by campaigns; without the save before, each load comes to what it is to."""
    history = History(entries, steps, storage="safetensors")
    assert _known(history, world)[-1] == "safetensors-left-over"
    assert _known(replace(history, steps=steps[1:]), world) == []


def test_object_that_a_failed_save_has_not_written_is_not_loaded(world: SimulatedWorld) -> None:
    history = History((TensorEntry("a"), ObjectEntry("b")), (_FAILS_LATE, Load(partial=True)), storage="safetensors")
    assert _known(history, world) == ["safetensors-unfinished"]
    (breach,) = find_history_breaches(history, world)
    assert find_history_issue(replace(breach, history=replace(history, steps=(_FAILS_LATE, Load())))) is None


def test_what_is_not_loaded_is_not_under_another_name(world: SimulatedWorld) -> None:
    """Found by a campaign: of bool, what was not written is the other value, which is at another place."""
    fails = Save(faults=(Fault("save", 0, "writer.write_data"),))
    history = History((TensorEntry("a", (2,), "bool"),), (fails, Load(partial=True)), storage="safetensors")
    assert _known(history, world) == ["safetensors-unfinished"]


def test_writer_that_was_told_a_path_writes_no_more_below_its_own(world: SimulatedWorld) -> None:
    """Found by a campaign, of parts too: an empty file of the save that fails is beside those of the one before."""
    fails = Save(operation=_LEGACY, again=("writer",), faults=(Fault("save", 0, "planner.resolve_data"),))
    history = History((TensorEntry("a"),), (Save(), fails), storage="consolidated")
    assert _known(history, world) == ["consolidated-below-until-told"]
    assert _known(replace(history, steps=(Save(), replace(fails, again=()))), world) == []


def test_part_that_is_not_put_below_is_taken_for_the_whole(world: SimulatedWorld) -> None:
    """Found by a campaign: by several threads, a save is not compared with itself alone, and a load shows it."""
    entry = TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1)))
    told = Save(operation=TWO, faults=(Fault("save", 0, "writer.write_data"),))
    steps = (told, Save(operation=Operation(2, named_by="storage"), again=("writer",)), Load())
    history = History((entry,), steps, WriterOptions(thread_count=2), storage="consolidated")
    assert _known(history, world) == ["consolidated-below-until-told"]
    (breach,) = find_history_breaches(history, world)
    another = replace(history, steps=(steps[0], replace(steps[1], again=()), steps[2]))
    assert find_history_issue(replace(breach, history=another)) is None, "its writer was told nothing"


def test_zero_that_happens_to_be_another_tensor_too_is_known(world: SimulatedWorld) -> None:
    """Found by a campaign: the other one's value is zero in float16."""
    fails = Save(faults=(Fault("save", 0, "writer.write_data"),))
    steps = (Save(operation=Operation(named_by="storage")), fails, Load())
    history = History((TensorEntry("a", dtype="float16"), TensorEntry("b", (1,))), steps, storage="consolidated")
    (breach,) = find_history_breaches(history, world)
    assert breach.kind is UnderAnotherName
    assert _known(history, world) == ["consolidated-scalars"]
    assert find_history_issue(replace(breach, others=())) is None


def test_save_that_fails_for_its_objects_is_staged_over_too(world: SimulatedWorld) -> None:
    """Found by a campaign: it fails alone as well, and has written what was staged later."""
    staged = Operation(api="async", stager="default", named_by="storage")
    steps = (Save(operation=staged, overtaken=True), Save(operation=staged, again=("stager", "tensors")))
    history = History((TensorEntry("a"), ObjectEntry("w")), steps, storage="consolidated")
    assert _known(history, world) == ["safetensors-with-objects", "staged-over-an-upload"]
    *_, breach = find_history_breaches(history, world)
    outcome = breach.outcome.steps[0]
    other = replace(outcome, operation=replace(outcome.operation, ranks=(SAYS_ELSE,)))
    new = replace(breach, outcome=replace(breach.outcome, steps=(other, *breach.outcome.steps[1:])))
    assert find_history_issue(new) is None, "alone, it says something else"


def test_one_file_that_was_left_over_has_zeros_of_its_own(world: SimulatedWorld) -> None:
    """Found by a campaign: of a tensor of which a rank has several shards, it has the first alone, and zeros."""
    entries = (TensorEntry("a", (1,), saved=ChunkSharding(0, (1, 1))), TensorEntry("b"))
    steps = (Save(operation=TWO, without=("b",)), Save(), Load())
    history = History(entries, steps, storage="consolidated")
    first, *others = _known(history, world)
    assert first == "consolidated-over-itself"
    assert others in ([], ["safetensors-left-over"]), "which of two files is read last is the file system's"
    load = OperationOutcome((Returned((_held("a", b"\0" * 4), _held("b", b"\0" * 4))),))
    found = saves_seen({0: history.read_of(2, 0)}, load, zero={"a"})
    assert found == {("'a'", 0): Counter({frozenset({ZERO}): 1}), ("'b'", 0): Counter({frozenset(): 1})}


def _held(name: str, data: bytes) -> TensorState:
    shape = (1,) if name == "a" else ()
    return TensorState((name,), "Tensor", "float32", shape, (ChunkState((0,) * len(shape), shape, data),))


def test_what_was_left_over_is_of_what_was_staged_over_it(world: SimulatedWorld) -> None:
    """Found by a campaign, if what is left is what is read of the two."""
    staged = Operation(api="async", stager="default")
    steps = (
        Save(operation=staged, overtaken=True),
        Save("b", staged, again=("stager", "tensors")),
        Save(operation=Operation(named_by="storage")),
        Load(),
    )
    history = History((TensorEntry("a", (1,)),), steps, storage="consolidated")
    first, *others = _known(history, world)
    assert first == "staged-over-an-upload"
    assert others in ([], ["safetensors-left-over"])


def test_what_was_left_over_is_known_beside_what_else_is_wrong(world: SimulatedWorld) -> None:
    """Found by a campaign: a tensor with several shards on a rank is not loaded, whatever was left over of another."""
    entries = (TensorEntry("a"), TensorEntry("w", (1,), saved=ChunkSharding(0, (0, 0))))
    history = History(entries, (Save(), Save(operation=_LEGACY), Load()), storage="consolidated")
    assert _known(history, world)[-1] == "safetensors-left-over"


@pytest.mark.parametrize(
    ("entries", "steps", "storage"),
    [
        (
            (TensorEntry("v", (1,), saved=ChunkSharding(0, (0, 0))), TensorEntry("a")),
            (Save(operation=TWO), Save(without=("a",)), Load()),
            "safetensors",
        ),
        (
            (TensorEntry("a"), TensorEntry("b")),
            (Save(without=("b",)), Save(without=("a",)), Load()),
            "consolidated",
        ),
        (
            (TensorEntry("a"), TensorEntry("b")),
            (Save(), Save(without=("a", "b")), Save(faults=(Fault("save", 0, "writer.storage_meta"),)), Load()),
            "whole_consolidated",
        ),
        (
            (TensorEntry("b", (0,), loaded=ChunkSharding(0, (0,))), TensorEntry("a")),
            (Save(without=("b",)), Save(without=("a", "b")), Load(operation=TWO)),
            "threaded",
        ),
        (
            (TensorEntry("a"), TensorEntry("v")),
            (Save(), Save(without=("a", "v")), Load(faults=(Fault("load", 0, "reader.read_data"),))),
            "whole",
        ),
    ],
    ids=[
        "of several shards",
        "zero",
        "before one that fails at once",
        "beside what another rank refuses",
        "before what fails later",
    ],
)
def test_what_is_to_be_missing_is_there_from_a_save_before(
    entries: tuple[TensorEntry, ...], steps: tuple[Save | Load, ...], storage: str, world: SimulatedWorld
) -> None:
    """Found by campaigns: it is not refused, whatever else is wrong with what is loaded."""
    history = History(entries, steps, storage=storage)
    assert _known(history, world)[-1] == "safetensors-left-over"
    *_, breach = find_history_breaches(history, world)
    first, *others = steps
    without = replace(history, steps=(replace(first, without=("a",)), *others))
    assert find_history_issue(replace(breach, history=without)) is None
