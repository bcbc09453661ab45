"""The contract of storages is what DCP does: each call that it makes of a storage, over many drawn scenarios."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import fields
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint import StorageReader, StorageWriter
from torch.distributed.checkpoint.staging import AsyncStager

from campaign.cli import main
from campaign.laws import all_laws
from strategies import stored_scenarios
from tests.recording_storage import RECORDED, Side
from worlds import Fault, Operation, Scenario, SimulatedWorld, TensorEntry
from worlds.contract import CLAUSES, LIMITS, Clause, clauses_of
from worlds.hooks import HOOKS
from worlds.outcome import OperationOutcome, Raised
from worlds.storages import Limits

RECORDING = "tests.recording_storage:Recording"
Failing = Literal["nothing", "save", "load"]


def test_each_hook_of_a_storage_and_each_limit_is_in_it() -> None:
    assert {(clause.operation, clause.name) for clause in CLAUSES if not clause.stager} == {
        key for key, hook in HOOKS.items() if hook.owner == "storage"
    }
    assert list(CLAUSES) == [
        *sorted(clauses_of("save", stages=True), key=lambda clause: clause.part),
        *sorted(clauses_of("load"), key=lambda clause: clause.part),
    ]
    assert list(LIMITS) == [field.name for field in fields(Limits)]


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda each: each.name)
def test_signatures_are_those_of_torch(clause: Clause) -> None:
    owner = AsyncStager if clause.stager else StorageWriter if clause.operation == "save" else StorageReader
    method = clause.name.partition(".")[2]
    parameters = inspect.signature(getattr(owner, method)).parameters.values()
    names = [str(each.replace(annotation=each.empty)) for each in parameters if each.name != "self"]
    assert clause.signature == f"{method}({', '.join(names)})"


@pytest.mark.parametrize("failing", ["nothing", "save", "load"])
def test_dcp_keeps_to_it(failing: Failing, world: SimulatedWorld) -> None:
    seen: set[str] = set()

    @settings(max_examples=100, database=None, deadline=None, derandomize=True)
    @example(scenario=Scenario((TensorEntry("a"),), Operation(2, api="async"), Operation(2), storage=RECORDING))
    @given(scenario=stored_scenarios(names=st.just(RECORDING), failing=failing))
    def law(scenario: Scenario) -> None:
        seen.update(_hold(scenario, world))

    law()
    assert seen == {clause.name for clause in CLAUSES}


def _hold(scenario: Scenario, world: SimulatedWorld) -> set[str]:
    """Run it and hold each call against the contract; the names of the hooks that were called."""
    RECORDED.clear()
    outcome = world.run(scenario)
    for operation, outcomes in (("save", outcome.save), ("load", outcome.load)):
        if outcomes is not None:
            _hold_operation(scenario, [side for side in RECORDED if side.operation == operation], outcomes)
    return {call.name for side in RECORDED for call in side.calls}


def _hold_operation(scenario: Scenario, sides: Sequence[Side], outcomes: OperationOutcome) -> None:
    operation: Literal["save", "load"] = sides[0].operation
    options = scenario.operation(operation)
    members = options.members or range(options.world_size)
    coordinated = operation == "load" or options.coordinated
    stages = operation == "save" and options.uploads and options.stager == "writer"
    by_rank = {members.index(side.rank) if not options.no_dist else 0: side for side in sides}
    assert len(by_rank) == len(sides) == options.world_size, "each rank has a writer or a reader of its own"
    for rank, side in by_rank.items():
        called = [call.name for call in side.calls]
        every = rank == options.coordinator or not coordinated
        asked = [
            clause.name for clause in clauses_of(operation, stages=stages) if every or clause.ranks == "every rank"
        ]
        if options.named_by == "storage":
            asked = [name for name in asked if not name.endswith(".reset")]
        if called.count("reader.read_metadata") == 2:
            called.remove("reader.read_metadata")
        assert called == asked[: len(called)], "in that order, each once, and none after one that raised"
        if outcomes.returned:
            assert called == asked
        _hold_given(side, rank, options, coordinated=coordinated)
    if coordinated:
        _hold_together(by_rank, operation, options.coordinator)
        _hold_failures(by_rank, operation, outcomes)


def _hold_given(side: Side, rank: int, options: Operation, *, coordinated: bool) -> None:
    """What a rank's hooks are given that other ranks have no part in."""
    legacy = options.api == "legacy"
    for call in side.calls:
        match call.name.partition(".")[2]:
            case "reset":
                assert (call.args == ()) == legacy
                assert not call.kwargs
            case "storage_meta":
                assert (call.args, call.kwargs) == ((), {})
            case "read_metadata":
                assert not call.args
                assert call.kwargs in ({}, {"rank": rank})
            case "set_up_storage_writer":
                assert call.args == (rank == options.coordinator or not coordinated,) or not coordinated
                assert call.kwargs == {"rank": rank, "use_collectives": coordinated}
            case "set_up_storage_reader":
                read = side.one("reader.read_metadata")
                assert read is not None
                assert call.args[0] is read.result
                assert call.args[1] == (rank == options.coordinator)
                assert call.kwargs == {"rank": rank, "use_collectives": not read.kwargs}
            case "write_data" | "read_data":
                assert len(call.args) == 2
                assert not call.kwargs
            case "finish":
                assert not call.args
                assert set(call.kwargs) == {"metadata", "results"}
                assert coordinated or len(call.kwargs["results"]) == 1
            case "prepare_global_plan":
                assert coordinated or len(call.args[0]) == 1


def _hold_together(by_rank: dict[int, Side], operation: Literal["save", "load"], coordinator: int) -> None:
    """What one rank returns is what another is given."""
    end, work = ("writer", "write_data") if operation == "save" else ("reader", "read_data")
    planned = by_rank[coordinator].one(f"{end}.prepare_global_plan")
    if planned is None:
        return
    [plans] = planned.args
    assert [plan.storage_data for plan in plans] == [f"prepared by {by_rank[rank].rank}" for rank in sorted(by_rank)]
    assert len(planned.result) == len(plans)
    for rank, side in by_rank.items():
        if (done := side.one(f"{end}.{work}")) is not None:
            assert done.args[0].storage_data == planned.result[rank].storage_data
    finished = by_rank[coordinator].one("writer.finish")
    if finished is not None:
        written = [by_rank[rank].one("writer.write_data") for rank in sorted(by_rank)]
        values = [call.result.value() for call in written if call is not None]
        assert len(values) == len(by_rank)
        assert finished.kwargs["results"] == values
        indices = [result.index for of_rank in values for result in of_rank]
        assert len(set(indices)) == len(indices), "each is written once"


def _hold_failures(by_rank: dict[int, Side], operation: Literal["save", "load"], outcomes: OperationOutcome) -> None:
    """The phase that every rank is told of is that of the first hook that was not called where it was to be.

    What a hook outside of the phases raises is told to nobody else, whatever phase it names.
    """
    phases = {rank.phase for rank in outcomes.ranks if isinstance(rank, Raised)} & _PHASES
    if not phases:
        return
    [phase] = phases
    behind = {clause.name for clause in CLAUSES if _is_behind(clause, operation, phase)}
    for side in by_rank.values():
        assert not behind & {call.name for call in side.calls}


_PHASES = {clause.hook.phase for clause in CLAUSES} - {None}


def _is_behind(clause: Clause, operation: str, phase: str | None) -> bool:
    return clause.operation == operation and phase == "plan" and clause.hook.phase in ("write", "read")


@pytest.mark.parametrize("clause", [clause for clause in CLAUSES if not clause.stager], ids=lambda each: each.name)
def test_what_is_raised_is_told_in_its_phase(clause: Clause, world: SimulatedWorld) -> None:
    """On every rank, naming that one, where the phase is protected; and no later hook is called on any."""
    fault = Fault(clause.operation, 0, clause.name)
    scenario = Scenario((TensorEntry("a"),), Operation(2), Operation(2), faults=(fault,), storage=RECORDING)
    RECORDED.clear()
    outcome = world.run(scenario)
    outcomes = outcome.save if clause.operation == "save" else outcome.load
    assert outcomes is not None
    if clause.hook.phase is None:
        assert [type(rank).__name__ for rank in outcomes.ranks] == ["Raised", "Deadlocked"]
    else:
        for rank in outcomes.ranks:
            assert isinstance(rank, Raised)
            assert rank.failures is not None
            [(named, error)] = rank.failures
            assert (rank.phase, named) == (clause.hook.phase, 0)
            assert (error.type.rpartition(".")[2] == "AssertionError") == bool(clause.raises)
    called = {call.name for side in RECORDED if side.operation == clause.operation for call in side.calls}
    part = max(clause.part[:2], (1, 0))  # where nothing is protected, the other rank goes on to its plan
    later = {each.name for each in clauses_of(clause.operation) if each.part[:2] > part}
    assert not called & later


def test_page_has_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contract"]) == 0
    page = capsys.readouterr().out
    for clause in CLAUSES:
        assert f"`{clause.signature}`" in page
    for limit, text in LIMITS.items():
        assert f"- `{limit}`: {text}" in page
    for law in all_laws().values():
        assert (f"- `{law.name}`: " in page) == law.is_of_storages
