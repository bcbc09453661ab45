"""Scenarios on any storage: as drawn, as run, as judged, as scripts, and what gives way on one that has limits."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import worlds
from campaign.script import CannotWrite, write_script
from properties import judge
from properties.known_issues import KNOWN_ISSUES, KnownIssue, find_known_issue, formatted, safetensors
from properties.verdict import Verdict
from properties.violations import BadStorageIndex
from strategies import limit_storages, scenarios, stored_scenarios
from strategies.features import features
from tests.script_runs import run_script
from tests.script_texts import check_text
from worlds import (
    ChunkSharding,
    Damage,
    Fault,
    InvalidScenario,
    Nested,
    ObjectEntry,
    Operation,
    Plain,
    PlannerOptions,
    ProcessWorld,
    Scenario,
    Schedule,
    SimulatedWorld,
    TensorEntry,
    WriterOptions,
)
from worlds.fitting import fitted
from worlds.outcome import ErrorRecord, OperationOutcome, Outcome, Raised, Returned
from worlds.reference import CHECKPOINTS
from worlds.storages import FORMATTED, SHIPPED, find_storage, limits_of

HALVES = ChunkSharding(0, (0, 1))
STATE = (
    Nested("n", "dict", (TensorEntry("t", (4, 2), saved=HALVES, loaded=ChunkSharding(1, (1, 0))),)),
    TensorEntry("u", (3,), "float64", loaded=HALVES),
)
SAVED = Scenario(STATE, Operation(2, api="legacy"), Operation(2))
COORDINATED_BY_1 = Operation(2, coordinator=1, api="legacy")
EACH = pytest.mark.parametrize("storage", SHIPPED)
BY_NAME = WriterOptions(file_indices=(("a", 1),))
ISSUES = (*safetensors.ISSUES, *formatted.ISSUES)
FEW = settings(database=None, max_examples=200)


@pytest.mark.parametrize(
    ("scenario", "storage", "says"),
    [
        (Scenario(save=Operation(api="uncoordinated")), "safetensors", "safetensors takes ranks that coordinate"),
        (Scenario(writer=WriterOptions(overwrite=False)), "safetensors", "safetensors has no option overwrite"),
        (Scenario(storage="safetensors", writer=BY_NAME), "fsspec", "fsspec has no option file_indices"),
        (Scenario((TensorEntry("a", dtype="complex128"),)), "consolidated", "consolidated cannot hold 'a'"),
        (Scenario(writer=WriterOptions(cache_staged_state_dict=True)), "fsspec", "fsspec has no option cache_staged"),
        (Scenario(save=Operation(api="async")), "reference", "the writer of reference is no stager"),
        (Scenario(writer=WriterOptions(sync_files=True)), "memory", "memory has no option sync_files"),
        (Scenario(damages=(Damage("missing"),)), "memory", "memory has no files below its path that could be damaged"),
        (Scenario(save=Operation(2)), "whole", "whole is saved by one rank"),
        (Scenario(), "tape", "there is no storage 'tape', only file_system, fsspec, "),
    ],
)
def test_what_a_storage_does_not_support_is_no_scenario(scenario: Scenario, storage: str, says: str) -> None:
    with pytest.raises(InvalidScenario, match=says):
        replace(scenario, storage=storage)
    if storage in SHIPPED:
        assert fitted(scenario, storage).storage == storage, "the nearest one is"


@pytest.mark.parametrize(
    ("save", "nearest"),
    [
        (Operation(api="uncoordinated"), Operation()),
        (Operation(api="async uncoordinated", stager="shared"), Operation(api="async", stager="shared")),
    ],
)
def test_save_that_takes_collectives_is_called_as_before(save: Operation, nearest: Operation) -> None:
    assert fitted(Scenario(save=save), "safetensors").save == nearest


@EACH
def test_any_scenario_fits_a_storage_once(storage: str) -> None:
    @settings(max_examples=50, database=None)
    @given(scenario=scenarios())
    def draw(scenario: Scenario) -> None:
        once = fitted(scenario, storage)
        assert fitted(once, storage) == once
        assert replace(fitted(scenario, "file_system"), storage="file_system") == scenario

    draw()


def test_storage_is_a_part_of_the_scenario() -> None:
    scenario = replace(SAVED, storage="fsspec")
    assert eval(repr(scenario), vars(worlds)) == scenario == Scenario.from_json(scenario.to_json())
    assert "storage" not in repr(SAVED) + SAVED.to_json()
    with pytest.raises(InvalidScenario, match="the scenario is not legal: there is no storage 'tape'"):
        Scenario.from_json(scenario.to_json().replace("fsspec", "tape"))


def test_shrinks_to_nothing_in_the_file_system() -> None:
    assert find(stored_scenarios(), lambda _: True, settings=FEW) == Scenario()


@EACH
def test_shrinks_to_nothing_on_that_storage(storage: str) -> None:
    smallest = find(stored_scenarios(names=st.just(storage)), lambda _: True, settings=FEW)
    assert smallest == Scenario(storage=storage)


def drawn(strategy: st.SearchStrategy[Scenario]) -> list[Scenario]:
    found: list[Scenario] = []

    @settings(FEW, max_examples=300, phases=[Phase.generate])
    @given(strategy)
    def draw(scenario: Scenario) -> None:
        found.append(scenario)

    draw()
    return found


@pytest.mark.thorough
def test_every_storage_is_drawn_often_and_fails_within() -> None:
    for failing in ("nothing", "save"):
        scenarios = drawn(stored_scenarios(failing=failing, max_entries=1))
        counts = Counter(feature for scenario in scenarios for feature in features(scenario))
        assert all(counts["storage", name] >= 5 for name in SHIPPED), counts
    hooks = Counter(fault.hook for scenario in scenarios for fault in scenario.faults)
    assert hooks["planner.resolve_data"] >= 50


def test_ranks_that_share_no_memory_get_the_file_system() -> None:
    """In the place of a storage that keeps all in one process; a world of processes refuses that one."""
    in_one = {name for name in SHIPPED if not limits_of(name).processes}
    assert in_one == {"memory", "reference", "bare", "served"}
    limit_storages(shared=True)
    try:
        scenarios = drawn(stored_scenarios(names=st.sampled_from(("memory", "reference", "bare")), max_entries=1))
        assert {scenario.storage for scenario in scenarios} == {"file_system"}
    finally:
        limit_storages(shared=False)


@pytest.mark.parametrize("storage", ["memory", "reference", "bare"])
def test_world_of_processes_refuses_what_is_kept_in_one(storage: str, processes: ProcessWorld) -> None:
    with pytest.raises(InvalidScenario, match=f"{storage} keeps what is saved in one process, and here each rank is"):
        processes.run(Scenario(storage=storage))


def test_every_byte_of_the_reference_lies_open(world: SimulatedWorld) -> None:
    """While the example runs, and not after it; a save that fails leaves what was there before."""
    scenario = fitted(replace(SAVED, entries=(*STATE, ObjectEntry("o", 1))), "reference")
    failing = replace(scenario, entries=STATE[:1], faults=(Fault("save", 1, "writer.finish"),), save=COORDINATED_BY_1)
    with world.example():
        assert world.operate(scenario, "save", "id").returned
        assert {name[:4] for name in CHECKPOINTS["id"].files} == {"0/0/", "0/1/"}, "of the first save, by each rank"
        before, metadata = dict(CHECKPOINTS["id"].files), CHECKPOINTS["id"].metadata
        assert not world.operate(failing, "save", "id").returned
        assert CHECKPOINTS["id"].metadata == metadata
        assert before.items() < CHECKPOINTS["id"].files.items(), "what was written is there, and nothing points to it"
        assert world.operate(scenario, "load", "id").returned
        assert world.operate(replace(failing, faults=()), "save", "id").returned
        assert sorted(CHECKPOINTS["id"].files) == ["2/0/0", "2/1/0"], "and nothing of what was there before"
    find_storage("reference").clean_up("id")
    world.run(scenario)
    assert CHECKPOINTS == {}


def test_memory_is_empty_after_an_example(world: SimulatedWorld) -> None:
    memory = import_module("fsspec").filesystem("memory")
    directories = set(memory.pseudo_dirs)
    assert world.run(fitted(SAVED, "memory")).files
    assert memory.store == {}
    assert {path for path in set(memory.pseudo_dirs) - directories if "dcp-stress" in path} == set()


def worlds_for(storage: str, *some: SimulatedWorld | ProcessWorld) -> list[SimulatedWorld | ProcessWorld]:
    return [where for where in some if where.name == "simulated" or limits_of(storage).processes]


@EACH
def test_state_is_loaded_as_it_was_saved(storage: str, world: SimulatedWorld, processes: ProcessWorld) -> None:
    scenario = fitted(SAVED, storage)
    if storage == "whole_consolidated":  # see consolidated-without-distributed
        scenario = replace(scenario, save=Operation())
    if storage == FORMATTED:  # see file-system-safetensors
        scenario = replace(scenario, entries=(ObjectEntry("o"), TensorEntry("empty", (0,))))
    for where in worlds_for(storage, world, processes):
        outcome = where.run(scenario)
        assert judge(scenario, outcome)
        assert outcome.load is not None
        assert outcome.load.returned


@EACH
def test_failure_of_a_storage_is_blamed(storage: str, world: SimulatedWorld, processes: ProcessWorld) -> None:
    rank, save = (1, COORDINATED_BY_1) if limits_of(storage).by_many else (0, Operation(2))
    for fault in (Fault("save", rank, "writer.finish"), Fault("save", rank, "writer.write_data", through="future")):
        scenario = fitted(replace(SAVED, save=save, faults=(fault,)), storage)
        for where in worlds_for(storage, world, processes):
            outcome = where.run(scenario)
            assert [hit.index for hit in outcome.save.hits] == [0]
            assert judge(scenario, outcome)


@pytest.mark.parametrize("issue", ISSUES, ids=lambda issue: issue.id)
def test_entry_matches_no_other_failure(issue: KnownIssue) -> None:
    """Not another error in any phase, and not what a rank was made to fail with."""
    ranks = issue.scenario.load.world_size
    saved = OperationOutcome((Returned(()),) * ranks)
    for phase in ("plan", "write", "read"):
        failed = Raised(ErrorRecord("CheckpointException", ""), phase, ((0, ErrorRecord("OSError", "disk")),))
        outcome = OperationOutcome((failed,) * ranks)
        for seen in (Outcome(outcome), Outcome(saved, outcome)):
            verdict = judge(issue.scenario, seen)
            assert not verdict
            assert find_known_issue(verdict) is None, verdict.violation()


@pytest.mark.parametrize("issue", ISSUES, ids=lambda issue: issue.id)
def test_entry_is_of_that_storage_alone(issue: KnownIssue, world: SimulatedWorld) -> None:
    verdict = judge(issue.scenario, world.run(issue.scenario))
    options = replace(issue.scenario.writer, file_indices=())
    elsewhere = replace(issue.scenario, storage="file_system", writer=options)
    assert judge(elsewhere, world.run(elsewhere))
    assert find_known_issue(replace(verdict, scenario=elsewhere)) is None


@pytest.mark.parametrize(
    "faults",
    [
        (Fault("load", 1, "planner.commit_tensor"),),
        (Fault("load", 0, "reader.read_data"), Fault("load", 1, "planner.commit_tensor")),
        (Fault("load", 0, "planner.resolve_tensor"), Fault("load", 0, "reader.read_data", through="future")),
    ],
    ids=lambda faults: " and ".join(fault.hook for fault in faults),
)
def test_no_rank_fails_at_what_is_not_found(faults: tuple[Fault, ...], world: SimulatedWorld) -> None:
    """Found by campaigns: a load of what is there alone reads nothing below the path, and what fails is blamed."""
    issue = KNOWN_ISSUES["consolidated-without-distributed"]
    planner = PlannerOptions(allow_partial_load=True)
    scenario = replace(issue.scenario, load=Operation(2), planner=planner, faults=faults)
    assert find_known_issue(verdict_of(scenario, world)) is issue
    reached = Raised(ErrorRecord("CheckpointException", ""), "read", ((0, ErrorRecord("OSError", "disk")),))
    saved = OperationOutcome((Returned(()),))
    assert find_known_issue(judge(scenario, Outcome(saved, OperationOutcome((reached,) * 2)))) is None


def test_object_beside_tensors_is_all_that_is_excused() -> None:
    """A header that cannot be read where all that was saved are tensors is new."""
    scenario = Scenario((TensorEntry("a", (2,)),), storage="safetensors")
    message = "metadata is None; global metadata read failed: Error while deserializing header: header too large"
    failed = Raised(ErrorRecord("CheckpointException", ""), "plan", ((0, ErrorRecord("AssertionError", message)),))
    verdict = judge(scenario, Outcome(OperationOutcome((Returned(()),)), OperationOutcome((failed,))))
    assert not verdict
    assert find_known_issue(verdict) is None


def test_no_reader_of_torch_reads_safetensors_of_the_file_system_writer(world: SimulatedWorld) -> None:
    """What is no tensor is read; and where a whole state dict of such is not, that is new."""
    issue = KNOWN_ISSUES["file-system-safetensors"]
    read_by_another = replace(issue.scenario, storage="tests.own_storages:OfAnotherFormat")
    load = world.run(read_by_another).load
    assert load is not None
    (seen,) = load.ranks
    assert isinstance(seen, Raised)
    assert [error.message for _, error in seen.failures or ()] == ["Missing key in checkpoint state_dict: a."]
    verdict = verdict_of(issue.scenario, world)
    assert find_known_issue(verdict) is issue
    objects = replace(issue.scenario, entries=(ObjectEntry("a"),))
    assert verdict_of(objects, world)
    assert find_known_issue(replace(verdict, scenario=objects)) is None


def test_two_tensors_in_one_place_are_known_where_objects_are_not(world: SimulatedWorld) -> None:
    """An index in which an object and a tensor overlap is new."""
    issue = KNOWN_ISSUES["file-system-safetensors"]
    entries = (TensorEntry("a", (2,)), TensorEntry("b", (2,)), ObjectEntry("o", b"some bytes"))
    verdict = verdict_of(replace(issue.scenario, entries=entries), world)
    assert verdict.breach is not None
    assert verdict.breach.kind is BadStorageIndex
    assert find_known_issue(verdict) is issue
    metadata = verdict.outcome.metadata
    assert metadata is not None
    at_once = tuple(replace(record, start=0) for record in metadata.storage)
    other = replace(verdict.outcome, metadata=replace(metadata, storage=at_once))
    assert find_known_issue(judge(verdict.scenario, other)) is None


def test_known_issue_beside_a_fault_is_known(world: SimulatedWorld) -> None:
    """A rank that was made to fail is named too; where it alone is, nothing is excused."""
    issue = KNOWN_ISSUES["safetensors-not-contiguous"]
    fault = Fault("save", 1, "writer.write_data")
    scenario = replace(issue.scenario, save=Operation(2), load=Operation(2), faults=(fault,))
    verdict = judge(scenario, world.run(scenario))
    assert find_known_issue(verdict) is issue, verdict
    alone = Raised(ErrorRecord("CheckpointException", ""), "write", ((1, ErrorRecord("OSError", "disk")),))
    other = judge(scenario, replace(verdict.outcome, save=replace(verdict.outcome.save, ranks=(alone, alone))))
    assert not other
    assert find_known_issue(other) is None


def verdict_of(scenario: Scenario, world: SimulatedWorld) -> Verdict:
    return judge(scenario, world.run(scenario))


@pytest.mark.parametrize(
    ("storage", "writer"),
    [
        ("fsspec", "FsspecWriter(path, thread_count=2)"),
        ("safetensors", "dcp.HuggingFaceStorageWriter(path, save_distributed=True, thread_count=2)"),
        ("consolidated", "        thread_count_consolidation=2,\n"),
        ("threaded", "dcp.HuggingFaceStorageReader(path, thread_count=2)"),
        ("whole", "dcp.HuggingFaceStorageWriter(path, thread_count=2)"),
    ],
)
def test_script_has_the_storage(storage: str, writer: str, world: SimulatedWorld, tmp_path: Path) -> None:
    """With what its writer is given; and where ranks fail, the class that fails is one of it."""
    scenario = fitted(replace(SAVED, writer=WriterOptions(thread_count=2)), storage)
    assert writer in write_script(verdict_of(scenario, world))
    failing = replace(scenario, faults=(Fault("load", 1, "reader.read_data"),))
    script = write_script(verdict_of(failing, world))
    check_text(script)
    kind = "FsspecReader" if storage == "fsspec" else "HuggingFaceStorageReader"
    assert re.search(rf"^class FailingReader\((dcp\.)?{kind}\):$", script, re.MULTILINE)  # torch 2.15 exports more
    with pytest.raises(CannotWrite, match=r"^there is no script for a scenario on the storage 'memory' yet$"):
        write_script(verdict_of(fitted(scenario, "memory"), world))
    if storage == "fsspec":  # the others run for each of their known issues
        run = run_script(script, tmp_path)
        assert run.status == 0, run.output


@pytest.mark.parametrize("storage", ["safetensors", "consolidated"])
def test_several_files_by_name_are_drawn(storage: str) -> None:
    """Also with a file for a name that is not saved, as the mapping of a whole model has it."""

    def has_one_more(scenario: Scenario) -> bool:
        saved = {unit.fqn for unit in scenario.units("save")}
        return not saved.issuperset(name for name, _ in scenario.writer.file_indices)

    some = settings(FEW, phases=[Phase.generate])
    named = find(stored_scenarios(names=st.just(storage)), has_one_more, settings=some)
    assert ("option", "several files by name") in features(named)


def test_what_several_ranks_save_is_saved_by_the_first_one_where_one_has_to() -> None:
    entries = (*STATE, TensorEntry("v", saved=Plain((1,))), ObjectEntry("o", saved=Plain((1,))))
    faults = (
        Fault("save", 1, "writer.finish"),
        Fault("save", 0, "writer.finish"),
        Fault("load", 1, "reader.read_data"),
    )
    save = Operation(2, schedule=Schedule((1, 0), threads_first=True))
    found = fitted(Scenario(entries, save, Operation(2), faults=faults), "whole")
    assert found.save == Operation(schedule=Schedule(threads_first=True))
    assert found.load == Operation(2)
    assert found.faults == faults[1:]
    assert {leaf.entry.layout("save") for leaf in found.leaves("save")} == {Plain()}
    assert len(found.leaves("save")) == 4


def test_failure_in_a_thread_of_the_reader_alone_is_excused(world: SimulatedWorld) -> None:
    """With one file, no thread is started, and whoever fails is named for it."""
    issue = KNOWN_ISSUES["safetensors-reader-threads"]
    alone = replace(issue.scenario, save=Operation(), entries=(TensorEntry("a", (2,)),))
    assert verdict_of(alone, world)
    verdict = verdict_of(issue.scenario, world)
    assert find_known_issue(verdict) is issue
    assert find_known_issue(replace(verdict, scenario=replace(verdict.scenario, storage="safetensors"))) is None
