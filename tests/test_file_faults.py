"""Operations on files fail where they are told to, on that rank alone, and leave nothing behind."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import find, given, settings
from torch.distributed.checkpoint import filesystem
from torch.distributed.checkpoint.filesystem import FileSystem

import worlds
from campaign.planted.plant import planted
from properties import expected, judge
from properties.known_issues import find_known_issue
from properties.violations import MetadataUnreadable
from strategies import failing_file_scenarios, file_faults
from strategies.file_features import FILE_FEATURES, file_features
from worlds import (
    ChunkSharding,
    FileFault,
    InvalidScenario,
    ObjectEntry,
    Operation,
    ProcessWorld,
    Scenario,
    Schedule,
    SimulatedWorld,
    TensorEntry,
    WriterOptions,
)
from worlds.errors import RAISES_NOTHING
from worlds.file_faults import FILE_CALLS, UNWRITTEN, file_errors
from worlds.fitting import fitted
from worlds.inject import Injection
from worlds.outcome import Hit, OperationOutcome, Raised, Returned

_HALVES = ChunkSharding(0, (0, 1))
BASE = Scenario(
    (TensorEntry("a", (400,), saved=_HALVES, loaded=_HALVES), ObjectEntry("b", 1)),
    Operation(2),
    Operation(2),
    WriterOptions(sync_files=True),
)
"""Two ranks, each with something to write and to read, that sync what they write."""

OWN = "tests.own_storages:Local"
CALLS = [(*place, error) for place in FILE_CALLS for error in file_errors(place[1])]


def struck(scenario: Scenario, world: SimulatedWorld) -> OperationOutcome:
    """What came of the operation with the faults, once the judge has found nothing wrong but what is known."""
    outcome = world.run(scenario)
    verdict = judge(scenario, outcome)
    if find_known_issue(verdict) is None:
        verdict.raise_for_violation()
    found = outcome.save if scenario.file_faults[0].operation == "save" else outcome.load
    assert found is not None
    return found


@pytest.mark.parametrize(("operation", "call", "error"), CALLS)
def test_every_operation_fails_with_everything(
    operation: Literal["save", "load"], call: str, error: str, world: SimulatedWorld
) -> None:
    """It is reached on the coordinator, and what is not got over is blamed on that rank alone."""
    earlier: Literal["nothing", "coordinated"] = "coordinated" if call == "metadata.remove" else "nothing"
    scenario = replace(BASE, file_faults=(FileFault(operation, 0, call, error),), earlier=earlier)
    outcome = struck(scenario, world)
    assert outcome.hits == (Hit(0),)
    assert outcome.returned == (error in RAISES_NOTHING)
    for seen in outcome.ranks:
        assert isinstance(seen, Returned) or (
            isinstance(seen, Raised) and [rank for rank, _ in seen.failures or ()] == [0]
        )


EACH_OF_FSSPEC = [
    pytest.param(storage, *place, id=f"{storage}-{place[0]}-{place[1]}")
    for storage in ("fsspec", "memory")
    for place in FILE_CALLS
    if not place[1].endswith("fsync")
]


@pytest.mark.parametrize(("storage", "operation", "call"), EACH_OF_FSSPEC)
def test_every_operation_of_fsspec_fails(
    storage: str, operation: Literal["save", "load"], call: str, world: SimulatedWorld
) -> None:
    """It is reached, and that rank alone is blamed for it."""
    fault = FileFault(operation, 1 if FILE_CALLS[operation, call].role == "rank" else 0, call, "ENOSPC")
    earlier: Literal["nothing", "coordinated"] = "coordinated" if call == "metadata.remove" else "nothing"
    scenario = replace(BASE, writer=WriterOptions(), storage=storage, file_faults=(fault,), earlier=earlier)
    outcome = struck(scenario, world)
    assert outcome.hits == (Hit(0),)
    for seen in outcome.ranks:
        assert isinstance(seen, Raised)
        assert [rank for rank, _ in seen.failures or ()] == [fault.rank]


@pytest.mark.parametrize("storage", ["fsspec", "memory"])
@pytest.mark.parametrize("call", ["data.write", "metadata.write"])
def test_what_could_not_be_written_is_to_blame_and_not_that_it_stays(
    storage: str, call: str, world: SimulatedWorld
) -> None:
    """Fsspec removes it, and gets over it where that fails."""
    faults = (FileFault("save", 0, call, "ENOSPC"), FileFault("save", 0, UNWRITTEN, "EPERM"))
    scenario = replace(BASE, writer=WriterOptions(), storage=storage, file_faults=faults)
    outcome = struck(scenario, world)
    assert [hit.index for hit in outcome.hits] == [0, 1]
    for seen in outcome.ranks:
        assert isinstance(seen, Raised)
        [(rank, error)] = seen.failures or ()
        assert (rank, str(errno.ENOSPC) in error.message or "write failed" in error.message) == (0, True)
    with pytest.raises(InvalidScenario, match="file_system has its files from DCP, where no rest"):
        replace(scenario, storage="file_system")
    assert fitted(scenario, "file_system").file_faults == faults[:1]


def test_what_fsspec_has_not_is_no_fault() -> None:
    for call, error in (("data.write", "short"), ("metadata.write", "full"), ("data.fsync", "EIO")):
        with pytest.raises(
            InvalidScenario, match=f"fsspec has its files from fsspec, where no {call} fails with {error}"
        ):
            Scenario(storage="fsspec", file_faults=(FileFault("save", 0, call, error),))
    with pytest.raises(InvalidScenario, match="reference does not ask for its files as DCP or fsspec does"):
        Scenario(storage="reference", file_faults=(FileFault("save", 0, "data.write"),))


def test_files_of_a_storage_from_elsewhere_fail_too(world: SimulatedWorld) -> None:
    """If it asks for them as DCP does; what it asks for, nobody knows, and what is never reached fails nobody."""
    fault = FileFault("save", 0, "data.write")
    for entries, hits in ((BASE.entries[:1], 1), ((), 0)):
        scenario = Scenario(entries, Operation(2), Operation(2), storage=OWN, file_faults=(fault,))
        assert len(struck(scenario, world).hits) == hits
        assert not expected(scenario).save.must_fail


@pytest.mark.parametrize(("call", "least"), [("data.open", 1), ("data.write", 6), ("data.seek", 4), ("data.close", 1)])
def test_call_is_the_one_that_is_told(call: str, least: int, world: SimulatedWorld) -> None:
    """As many calls as there are can fail, and none behind them."""
    faults = [FileFault("save", 1, call, "EIO", skip) for skip in range(20)]
    reached = [bool(struck(replace(BASE, file_faults=(fault,)), world).hits) for fault in faults]
    calls = sum(reached)
    assert least <= calls < 20
    assert reached == [skip < calls for skip in range(20)]


def test_full_disk_stays_full(world: SimulatedWorld) -> None:
    """The bytes before are in the file, and each later write fails."""
    outcome = struck(replace(BASE, file_faults=(FileFault("save", 0, "data.write", "full", 1),)), world)
    (first, *_) = outcome.ranks
    assert isinstance(first, Raised)
    ((_, error),) = first.failures or ()
    assert f"Errno {errno.ENOSPC}" in error.message


@pytest.mark.parametrize("call", ["data.write", "metadata.write"])
def test_short_write_is_gone_on_with(call: str, world: SimulatedWorld) -> None:
    for skip in range(4):
        scenario = replace(BASE, file_faults=(FileFault("save", 0, call, "short", skip),))
        assert struck(scenario, world).returned


def test_what_is_written_behind_a_sync_is_lost(world: SimulatedWorld) -> None:
    """As the metadata are before torch 2.15, and no file with data is."""
    for rank in (0, 1):
        scenario = replace(BASE, file_faults=(FileFault("save", rank, "data.fsync", "lost"),))
        assert judge(scenario, world.run(scenario))
    scenario = replace(BASE, file_faults=(FileFault("save", 0, "metadata.fsync", "lost"),))
    with planted(filesystem._FileSystemWriter, "finish", *_SYNCED_FIRST):
        outcome = world.run(scenario)
    assert outcome.save.hits == (Hit(0),)
    assert isinstance(judge(scenario, outcome).violation(), MetadataUnreadable)
    with planted(filesystem._FileSystemWriter, "finish", *_WRITTEN_FIRST):
        assert judge(scenario, world.run(scenario))


_PICKLED = "pickle.dump(metadata, metadata_file)"
_SYNCED_FIRST = (_PICKLED, f"os.fsync(metadata_file.fileno()); self.sync_files = False; {_PICKLED}")
_WRITTEN_FIRST = (_PICKLED, f"{_PICKLED}; metadata_file.flush()")


def test_directory_that_is_there_need_not_be_made(world: SimulatedWorld) -> None:
    """Which depends on who comes first; and if nobody can make it, all fail."""
    for order, returned in ((), False), ((1, 0), True):
        save = Operation(2, schedule=Schedule(order))
        scenario = replace(BASE, save=save, file_faults=(FileFault("save", 0, "directory.mkdir"),))
        assert struck(scenario, world).returned == returned
    both = tuple(FileFault("save", rank, "directory.mkdir") for rank in (0, 1))
    assert not struck(replace(BASE, file_faults=both), world).returned
    assert expected(replace(BASE, file_faults=both)).save.must_fail


@pytest.mark.parametrize("api", ["current", "uncoordinated"])
def test_metadata_is_removed_where_an_earlier_save_has_left_some(api: Literal["current", "uncoordinated"]) -> None:
    """Of the whole, or the rank's own: of the kind that is written now."""
    faults = (FileFault("save", 0, "metadata.remove", "EPERM"),)
    for earlier in ("nothing", "coordinated", "uncoordinated"):
        scenario = replace(BASE, save=Operation(2, api=api), file_faults=faults, earlier=earlier)
        hits = SimulatedWorld().run(scenario).save.hits
        assert bool(hits) == (earlier == ("coordinated" if api == "current" else "uncoordinated")), earlier


@pytest.mark.parametrize("storage", ["file_system", "fsspec"])
@pytest.mark.parametrize("earlier", ["coordinated", "uncoordinated"])
@pytest.mark.parametrize("world", ["simulated", "processes"])
def test_earlier_save_has_other_values_at_the_same_path(
    storage: str, earlier: Literal["coordinated", "uncoordinated"], world: str, request: pytest.FixtureRequest
) -> None:
    """So that a load shows which of the two it has read; the metadata of each kind are there."""
    fault = FileFault("save", 0, "metadata.rename")
    writer = WriterOptions()
    scenario = replace(BASE, storage=storage, writer=writer, earlier=earlier, file_faults=(fault,))
    outcome = request.getfixturevalue(world).run(scenario)
    judge(scenario, outcome).raise_for_violation()
    assert not outcome.save.returned
    later = request.getfixturevalue(world).run(replace(scenario, file_faults=()))
    judge(replace(scenario, file_faults=()), later).raise_for_violation()
    names = {file.name for file in later.files}
    assert names == {"__0_0.distcp", "__1_0.distcp"}


def test_earlier_save_in_memory_is_at_the_same_place(world: SimulatedWorld) -> None:
    scenario = Scenario(BASE.entries, BASE.save, BASE.load, earlier="coordinated", storage="memory")
    outcome = world.run(scenario)
    judge(scenario, outcome).raise_for_violation()
    removed = replace(scenario, file_faults=(FileFault("save", 0, "metadata.remove"),))
    assert world.run(removed).save.hits == (Hit(0),)


def test_earlier_save_is_one_to_files_of_dcp_or_fsspec() -> None:
    with pytest.raises(InvalidScenario, match="an earlier save is one to DCP's own files, or to those of fsspec"):
        Scenario(storage="safetensors", earlier="coordinated")


def test_earlier_save_takes_a_writer_that_overwrites() -> None:
    with pytest.raises(InvalidScenario, match="over an earlier checkpoint takes a writer that overwrites"):
        Scenario(writer=WriterOptions(overwrite=False), earlier="coordinated")


def test_rank_reads_its_own_metadata_where_it_cannot_look_for_those_of_the_whole(world: SimulatedWorld) -> None:
    scenario = replace(
        BASE,
        save=Operation(2, api="uncoordinated"),
        file_faults=(FileFault("load", 1, "metadata.open"), FileFault("load", 0, "metadata.open", skip=1)),
    )
    outcome = world.run(scenario)
    assert outcome.load is not None
    assert {hit.index for hit in outcome.load.hits} == {0, 1}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    dcp.save({"a": torch.arange(4)}, storage_writer=dcp.FileSystemWriter(tmp_path), no_dist=True)
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_nothing_but_the_one_object_is_changed(saved: Path) -> None:
    """Other writers and readers, classes, and functions of the system are as they were, while the faults are there."""
    before = {**vars(FileSystem)}, {**vars(os)}
    faults = tuple(FileFault("load", 0, call) for of, call in FILE_CALLS if of == "load")
    reader, other = dcp.FileSystemReader(saved), dcp.FileSystemReader(saved)
    Injection(Scenario(file_faults=faults), "load", 0, []).place("reader", reader)
    assert ({**vars(FileSystem)}, {**vars(os)}) == before
    assert not vars(other.fs)
    with pytest.raises(OSError, match="injected fault 0"):
        reader.read_metadata()
    other.read_metadata()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("prefix", ["writer", "reader"])
def test_rank_and_operation_without_a_fault_are_left_alone(prefix: Any, tmp_path: Path) -> None:
    scenario = Scenario(save=Operation(2), load=Operation(2), file_faults=(FileFault("load", 1, "data.read"),))
    thing = dcp.FileSystemWriter(tmp_path) if prefix == "writer" else dcp.FileSystemReader(tmp_path)
    Injection(scenario, "load", 0, []).place(prefix, thing)
    Injection(scenario, "save", 1, []).place(prefix, thing)
    assert not vars(thing.fs)


def test_world_leaves_nothing_open_and_no_thread(world: SimulatedWorld) -> None:
    """After a file could not be closed, too."""
    descriptors, threads = set(os.listdir("/proc/self/fd")), threading.active_count()
    writer = WriterOptions(sync_files=True, thread_count=2)
    for call in ("data.open", "data.write", "data.close"):
        world.run(replace(BASE, writer=writer, file_faults=(FileFault("save", 1, call),)))
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() <= threads + 2  # those of the ranks are kept


@pytest.mark.parametrize("call", ["data.open", "data.write", "data.fsync", "data.close"])
def test_writer_thread_fails_too(call: str, world: SimulatedWorld) -> None:
    """Which torch loses, as the ledger knows; the fault says where it struck."""
    save = Operation(schedule=Schedule(threads_first=True))
    writer = WriterOptions(sync_files=True, thread_count=2)
    outcome = world.run(Scenario((ObjectEntry("a"),), save, writer=writer, file_faults=(FileFault("save", 0, call),)))
    assert outcome.save.hits == (Hit(0, thread=True),)


def test_lost_thread_is_the_same_issue_where_a_write_is_short(world: SimulatedWorld) -> None:
    """Nobody is to hear of a short write; of a failure that is lost beside it, that is no excuse."""
    faults = (FileFault("save", 0, "data.write"), FileFault("save", 0, "metadata.write", "short"))
    writer = WriterOptions(thread_count=2)
    scenario = Scenario((ObjectEntry("a"),), Operation(schedule=Schedule(threads_first=True)), writer=writer)
    scenario = replace(scenario, file_faults=faults)
    verdict = judge(scenario, world.run(scenario))
    known = find_known_issue(verdict)
    assert known is not None, verdict.violation()
    assert known.id == "second-writer-thread"
    fails = replace(scenario, file_faults=(faults[0], replace(faults[1], error="EIO")))
    assert find_known_issue(replace(verdict, scenario=fails)) is None


@pytest.mark.parametrize("operation", ["save", "load"])
def test_real_ranks_see_the_same(operation: Literal["save", "load"], processes: ProcessWorld) -> None:
    for of, call in FILE_CALLS:
        if of == operation:
            faults = tuple(FileFault(operation, rank, call, "ENOSPC") for rank in (0, 1))
            earlier: Literal["nothing", "coordinated"] = "coordinated" if call == "metadata.remove" else "nothing"
            scenario = replace(BASE, file_faults=faults, earlier=earlier)
            outcome = processes.run(scenario)
            judge(scenario, outcome).raise_for_violation()
            seen = outcome.save if operation == "save" else outcome.load
            assert seen is not None
            assert seen.hits
            assert not seen.returned


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda: FileFault("save", 0, "data.read"), "a save has no operation 'data.read' on files"),
        (lambda: FileFault("save", 0, "data.fsync", "full"), "'data.fsync' fails with EIO, ENOSPC, EPERM, lost"),
        (lambda: FileFault("save", 0, "data.write", skip=-1), "a count of calls is negative: -1"),
        (lambda: Scenario(file_faults=(FileFault("save", 1, "data.write"),)), "the save has no rank 1 to fail"),
        (lambda: Scenario(file_faults=2 * (FileFault("save", 0, "data.write"),)), "that fail are one"),
    ],
)
def test_what_is_no_fault_is_refused_in_one_line(fault: Any, says: str) -> None:
    with pytest.raises(InvalidScenario) as caught:
        fault()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.thorough
@settings(max_examples=100)
@given(scenario=failing_file_scenarios())
def test_scenario_round_trips(scenario: Scenario) -> None:
    assert Scenario.from_json(scenario.to_json()) == scenario == eval(repr(scenario), vars(worlds))


_QUICK = settings(database=None, derandomize=True, max_examples=2000)


def test_smallest_is_one_call_of_rank_0() -> None:
    assert find(file_faults(operation="save", world_size=4), bool, settings=_QUICK) == (
        FileFault("save", 0, "data.write"),
    )
    assert find(failing_file_scenarios(), lambda _: True, settings=_QUICK) == Scenario()
    smallest = find(failing_file_scenarios(), lambda scenario: len(scenario.file_faults) == 1, settings=_QUICK)
    assert smallest == Scenario(file_faults=(FileFault("save", 0, "directory.mkdir"),))


@pytest.mark.parametrize("call", [call for of, call in FILE_CALLS if of == "save"])
def test_smallest_with_a_call_has_one_fault_on_the_coordinator(call: str) -> None:
    faults = find(
        file_faults(operation="save", world_size=4),
        lambda drawn: any(fault.call == call and fault.error == "ENOSPC" for fault in drawn),
        settings=_QUICK,
    )
    assert faults == (FileFault("save", 0, call, "ENOSPC"),)


def test_features_are_of_what_was_reached() -> None:
    scenario = replace(
        BASE, file_faults=(FileFault("save", 1, "data.write", "full", 1), FileFault("load", 0, "data.read"))
    )
    assert file_features(scenario, "save", ()) == frozenset()
    names = {name for _, name in file_features(scenario, "save", (Hit(0),))}
    assert names == {"write full", "of a file with data", "on another rank", "at a later call"}
    listed = {(group, name) for group, names in FILE_FEATURES.items() for name in names}
    assert file_features(scenario, "load", (Hit(1),)) <= listed
