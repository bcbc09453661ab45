"""Scenarios that showed a fault of the tester itself."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from properties import judge, test_no_deadlock
from properties.known_issues import find_known_issue
from properties.known_issues.entry import operation_outcome
from worlds import (
    ChunkSharding,
    EnumerableSharding,
    Fault,
    FileFault,
    MeshSharding,
    Nested,
    ObjectEntry,
    Operation,
    Plain,
    PlannerOptions,
    Replicate,
    Scenario,
    Schedule,
    Shard,
    SimulatedWorld,
    StridedShard,
    TensorEntry,
    Tile,
    WriterOptions,
)
from worlds.entries import Value
from worlds.outcome import ContainerState, ErrorRecord, Raised
from worlds.state import StateDict

_ONE = MeshSharding((1,), (Replicate(),))
_META = replace(_ONE, memory="meta")
_REFUSED_BY_A_THREAD = Scenario(
    entries=(TensorEntry("a", (2, 2), saved=Plain(memory="transposed")),),
    save=Operation(schedule=Schedule(threads_first=True)),
    writer=WriterOptions(thread_count=2),
    storage="safetensors",
)
_OLDER_METADATA = Scenario(
    entries=(TensorEntry("a", (1,), loaded=ChunkSharding(0, (0,), memory="meta")),),
    save=Operation(2),
    load=Operation(2),
    file_faults=(FileFault("load", 1, "metadata.open"),),
    earlier="uncoordinated",
)
_UNCOORDINATED = Operation(3, api="uncoordinated", schedule=Schedule((0, 2, 1)))

SCENARIOS = {
    # What a later fault raised was taken for a failure that nobody had made.
    "a thread's failure is lost, and the coordinator fails next": Scenario(
        entries=(TensorEntry("a"),),
        save=Operation(2, coordinator=1, api="legacy", schedule=Schedule(threads_first=True)),
        load=Operation(2, coordinator=1, api="legacy"),
        writer=WriterOptions(False, thread_count=2),
        faults=(
            Fault("save", 0, "planner.resolve_data"),
            Fault("save", 0, "planner.create_global_plan"),
            Fault("save", 1, "writer.finish", error="CheckpointException"),
        ),
    ),
    # Simulated ranks had the planner's caches in common, which processes have not.
    "a rank fails by itself, and others have plan caches": Scenario(
        entries=(Nested("a"),),
        save=_UNCOORDINATED,
        load=Operation(3),
        planner=PlannerOptions(enable_plan_caching=True),
        faults=(Fault("save", 0, "planner.finish_plan", error="KeyError"),),
    ),
    # A save flattens the state dict before it looks at sharded tensors, and a load the other way round.
    "names collide where a rank has no shard": Scenario(
        entries=(
            Nested("a", entries=(TensorEntry("a", (1,), saved=ChunkSharding(0, (0,))),)),
            ObjectEntry("a.a"),
        ),
        save=Operation(2),
        load=Operation(2),
    ),
    # The ledger knew the issue of a tensor by itself alone.
    "a negated tensor is staged within a tuple": Scenario(
        entries=(Nested("a", "tuple", (TensorEntry("a", saved=Plain(memory="negated")),)),),
        save=Operation(api="async", stager="default"),
    ),
    # DTensor.from_local() gave a scalar the shape (0,) on ranks that are not in its mesh.
    "a rank is not in the mesh of a 0-d tensor": Scenario(
        entries=(
            TensorEntry("a", saved=MeshSharding((1,), (Replicate(),)), loaded=MeshSharding((1,), (Replicate(),))),
        ),
        save=Operation(2),
        load=Operation(2),
    ),
    # What was silently taken for another kind or dtype was unknown to the ledger where a fault ended the load.
    "an object is taken into a tensor, and then a rank fails": Scenario(
        entries=(ObjectEntry("a", loaded=None), TensorEntry("a", saved=None)),
        save=Operation(2),
        load=Operation(2),
        faults=(Fault("load", 1, "planner.finish_plan"),),
    ),
    "a tensor is cast, and then its rank fails": Scenario(
        entries=(TensorEntry("a", loaded=None), TensorEntry("a", dtype="float64", saved=None)),
        faults=(Fault("load", 0, "reader.prepare_local_plan"),),
    ),
    "a tensor is cast, which cannot be done, and another rank fails": Scenario(
        entries=(TensorEntry("a", loaded=None), TensorEntry("a", dtype="float4_e2m1fn_x2", saved=None)),
        save=Operation(2),
        load=Operation(2),
        faults=(Fault("load", 0, "planner.finish_plan"),),
    ),
    # In a tensor that the load has made, whatever is not as it was saved is taken for what was in memory.
    "a consolidated scalar is loaded into a tensor on the meta device": Scenario(
        entries=(TensorEntry("a", loaded=Plain(memory="meta")),), save=Operation(api="legacy"), storage="consolidated"
    ),
    "nothing is found at the path, and a tensor on the meta device holds what was in memory": Scenario(
        entries=(TensorEntry("a", loaded=Plain(memory="meta")),),
        save=Operation(api="legacy"),
        planner=PlannerOptions(allow_partial_load=True),
        storage="whole_consolidated",
    ),
    # The name of the entry is in the exception's class, so that the fault passed for a refusal.
    "what a rank raises has the refused name in it": Scenario(
        entries=(ObjectEntry("c", loaded=None), TensorEntry("c", saved=None)),
        faults=(Fault("load", 0, "planner.create_global_plan", error="CheckpointException"),),
    ),
    # An exception that never arrives passed for whatever another rank had raised.
    "a rank is blamed for something known, and what another raises never arrives": Scenario(
        entries=(
            TensorEntry("a", saved=_ONE, loaded=_ONE),
            Nested("s", "stateful"),
        ),
        save=Operation(2, api="uncoordinated"),
        load=Operation(2),
        faults=(Fault("load", 0, "stateful.load_state_dict", error="Unpicklable"),),
    ),
    # What a rank asks for that takes a checkpoint for an old one was known of containers alone.
    "a rank asks for a tensor of which it has no shard": Scenario(
        entries=(
            TensorEntry("a", (1,), saved=None, loaded=ChunkSharding(0, (0,))),
            TensorEntry("b", (1,), loaded=ChunkSharding(0, (0,))),
        ),
        save=Operation(2),
        load=Operation(2),
    ),
    # It refuses names that collide as it flattens its state dict, and not when it plans what to load.
    "names collide at load alone, and a later hook is to fail": Scenario(
        entries=(Nested("c", entries=(ObjectEntry("x"),)), ObjectEntry("c.x", saved=None)),
        faults=(Fault("load", 0, "reader.set_up_storage_reader"),),
    ),
    # Each was known by itself, and not where each befell one rank of the same load.
    "two ranks fail for two things that are known": Scenario(
        entries=(
            Nested(
                "a",
                "list",
                (
                    TensorEntry("a", (1,), loaded=ChunkSharding(0, (1,))),
                    TensorEntry(0, (2,), saved=EnumerableSharding((Tile(0, (1,), (1,)), Tile(0, (0,), (1,))))),
                ),
            ),
        ),
        save=Operation(2),
        load=Operation(2),
        storage="safetensors",
    ),
    # What one rank rightly refuses was in the way of what is known of another one.
    "a rank is told a wrong size, and another refuses its shards on the meta device": Scenario(
        entries=(
            TensorEntry(
                "a",
                (2,),
                saved=EnumerableSharding((Tile(0, (1,), (1,)), Tile(0, (0,), (1,)))),
                loaded=ChunkSharding(0, (0,), memory="meta"),
            ),
        ),
        save=Operation(2),
        load=Operation(2),
        storage="safetensors",
    ),
    # What is not in the file is not loaded, and so nobody fails who was to fail at that.
    "a rank is to fail at what is not in the file": Scenario(
        entries=(
            TensorEntry(
                "a",
                (1,),
                saved=EnumerableSharding((Tile(0, (0,), (1,)), Tile(0, (1,), (0,))), "Checkpointable"),
            ),
        ),
        faults=(Fault("load", 0, "planner.resolve_tensor"),),
        storage="safetensors",
    ),
    # Found on real ranks: what a thread of the writer refuses is lost, and its file is empty.
    "a thread of a writer with several refuses a tensor that is not contiguous": _REFUSED_BY_A_THREAD,
    "so it does where one file is to be made of those": replace(_REFUSED_BY_A_THREAD, storage="consolidated"),
    # The ledger took them for what vanishes, and not for the objects beside it.
    "an empty list in a list with an empty dict": Scenario((Nested("a", "list", (Nested(0), Nested(1, "list"))),)),
    "an empty tuple in a list with an empty dict": Scenario((Nested("a", "list", (Nested(0), Nested(1, "tuple"))),)),
    # Two things that are known of targets on the meta device, on a rank that has no part of them, beside a failure.
    "a rank beside the mesh of a target on meta is blamed with one that fails": Scenario(
        entries=(TensorEntry("a", loaded=_META),),
        load=Operation(2),
        faults=(Fault("load", 0, "reader.read_metadata"),),
    ),
    "a target on meta is replaced on a rank beside its mesh, and another rank fails": Scenario(
        entries=(TensorEntry("a", (1,), loaded=_META),),
        load=Operation(2, api="legacy"),
        faults=(Fault("load", 0, "reader.read_metadata"),),
    ),
    # The name was looked for up to the end of a line.
    "a 0-d target on meta has a name of two lines": Scenario(
        entries=(TensorEntry("\n", loaded=_META),),
        save=Operation(2),
        load=Operation(2),
        faults=(Fault("load", 0, "reader.read_metadata"),),
    ),
    # Who reads short was to be blamed for that, and not for what is known.
    "a rank that reads short cannot undo extensions, and another one cannot read": Scenario(
        entries=(TensorEntry("a"),),
        save=Operation(2, api="uncoordinated"),
        load=Operation(2),
        writer=WriterOptions(False, extensions=("deflated", "inverted")),
        file_faults=(FileFault("load", 0, "data.read", "EPERM"), FileFault("load", 1, "data.read", "short")),
        earlier="uncoordinated",
    ),
    # The ledger knew of those that take older metadata of their own alone, and not beside one that rightly refuses.
    "a rank takes older metadata, and another one refuses its shard": _OLDER_METADATA,
    "a rank takes older metadata, and refuses its shard": replace(
        _OLDER_METADATA,
        entries=(TensorEntry("a", (1,), loaded=ChunkSharding(0, (0, 1), memory="meta")),),
        file_faults=(FileFault("load", 0, "metadata.open"),),
    ),
    # The ledger knew of the rank that is blamed for the shape, and not of the one that is left with it.
    "a 0-d target on meta is replaced on a rank beside its mesh, which refuses another": Scenario(
        entries=(TensorEntry("a", saved=None), Nested("b", entries=(TensorEntry("a", loaded=_META),))),
        save=Operation(2),
        load=Operation(2),
        faults=(Fault("load", 0, "reader.read_metadata"),),
    ),
    "a 0-d target on meta that is not in the checkpoint is replaced on a rank beside its mesh": Scenario(
        entries=(TensorEntry("a", saved=None, loaded=replace(_META, ranks=(1,))),),
        load=Operation(2),
        planner=PlannerOptions(allow_partial_load=True),
    ),
    "a tensor is loaded into a shard in pieces": Scenario(
        entries=(TensorEntry("a", (9,), loaded=MeshSharding((2, 2, 2), (StridedShard(0, 4), Shard(0), Shard(0)))),),
        save=Operation(8),
        load=Operation(8),
    ),
    "an empty tensor begins within another one, behind an extension of the other format": Scenario(
        entries=(TensorEntry("b", (3,)), Nested("a", entries=(TensorEntry("a", (0,)),))),
        writer=WriterOptions(extensions=("deflated",)),
        storage="file_system_safetensors",
    ),
    "a checkpoint exception that nobody is told of, beside extensions that are undone in the wrong order": Scenario(
        entries=(TensorEntry("a"),),
        save=Operation(2, api="uncoordinated"),
        load=Operation(2),
        writer=WriterOptions(extensions=("deflated", "inverted")),
        faults=(Fault("load", 0, "planner.finish_plan", error="CheckpointException"),),
    ),
    "a thread that refuses a tensor unheard, in a save without collectives": Scenario(
        entries=(TensorEntry("a", (2, 2), saved=Plain(memory="transposed"), loaded=Plain(memory="transposed")),),
        save=Operation(api="uncoordinated", schedule=Schedule(threads_first=True)),
        writer=WriterOptions(thread_count=2),
        storage="file_system_safetensors",
    ),
}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_laws_hold_but_for_what_is_known(scenario: Scenario, world: SimulatedWorld) -> None:
    verdict = judge(scenario, world.run(scenario))
    assert verdict or find_known_issue(verdict) is not None, verdict.violation()


@pytest.mark.parametrize("values", [(0, False), (False, 0), (1.0, 1), (0.0, -0.0), ((1,), (True,))])
def test_objects_that_python_calls_equal_are_kept_apart(values: tuple[Value, Value], world: SimulatedWorld) -> None:
    """What was worked out for the first was once remembered for the second, which was then called changed."""
    for value in values:
        scenario = Scenario(entries=(Nested("a", entries=(ObjectEntry("b", value),)),))
        assert judge(scenario, world.run(scenario)), value
    assert ObjectEntry("b", values[0]) != ObjectEntry("b", values[1])


def test_other_tensor_beside_a_negated_one_in_a_tuple_is_no_known_issue(world: SimulatedWorld) -> None:
    """What a stager does to one tensor must not hide what happens to another."""
    pair = (TensorEntry("a", saved=Plain(memory="negated")), TensorEntry("b"))
    scenario = Scenario(entries=(Nested("a", "tuple", pair),), save=Operation(api="async", stager="default"))
    verdict = judge(scenario, world.run(scenario))
    assert find_known_issue(verdict) is not None
    assert verdict.breach is not None
    right, seen = verdict.breach.detail
    other = re.findall("[0-9a-f]{8}", right)[1]
    wrong = replace(verdict.breach, detail=(right, seen.replace(other, "0" * 8)))
    assert find_known_issue(replace(verdict, breach=wrong)) is None


def test_rank_that_fails_by_something_new_beside_one_that_does_not_is_no_known_issue(world: SimulatedWorld) -> None:
    scenario = SCENARIOS["two ranks fail for two things that are known"]
    outcome = world.run(scenario)
    assert outcome.load is not None
    known = judge(scenario, outcome)
    assert known.breach is not None
    named = operation_outcome(known, known.breach)
    ranks = tuple(replace(seen, failures=_with_other(seen)) for seen in named.ranks if isinstance(seen, Raised))
    other = judge(scenario, replace(outcome, load=replace(named, ranks=ranks)))
    assert not other
    assert find_known_issue(other) is None


def _with_other(seen: Raised) -> tuple[tuple[int, ErrorRecord], ...]:
    """What it says, but for another thing that befell rank 1."""
    assert seen.failures is not None
    return tuple((rank, replace(error, message="other") if rank else error) for rank, error in seen.failures)


def test_list_that_is_replaced_is_told_even_at_the_same_address() -> None:
    """Python gives a new list the address of one that has ended: one that replaced it passed for the same."""
    state = StateDict(Scenario(entries=(Nested("a", "list"),)), "load", 0)
    del state.entries["a"]
    state.entries["a"] = []
    [seen] = state.observe()
    assert isinstance(seen, ContainerState)
    assert not seen.in_place


def test_thread_whose_failure_is_lost_may_hide_behind_the_next_one_of_its_rank(world: SimulatedWorld) -> None:
    """It is known, but that the rank is blamed; in another order of threads it is blamed for the first."""
    scenario = Scenario(
        entries=(TensorEntry("a"),),
        save=Operation(2, schedule=Schedule(threads_first=True)),
        writer=WriterOptions(thread_count=2),
        faults=(Fault("save", 0, "planner.resolve_data"), Fault("save", 0, "writer.write_data", through="future")),
    )
    law: Any = test_no_deadlock.test_order_of_ranks
    law.hypothesis.inner_test(shard=0, world=world, scenario=scenario)
