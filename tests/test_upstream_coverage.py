"""Everything that torch's ``test/distributed/checkpoint/test_checkpoint.py`` checks is a special case of a law here.

One row for each of its classes and test functions, with the law that covers it and one scenario for each thing that it
does: the same state dict, hook, ranks and coordinator, on CPUs. The laws draw the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from hypothesis import is_hypothesis_test

from properties import judge, test_blame, test_metadata, test_round_trip
from properties.judge import judge_default_metadata
from worlds import ChunkSharding, Fault, ObjectEntry, Operation, Scenario, SimulatedWorld, TensorEntry
from worlds.outcome import Deadlocked, Died, MetadataRecord, Raised, TensorState
from worlds.program import default_metadata

OBJECT = ObjectEntry("bytes", (1, 2, 3, 4))
REPLICATED = TensorEntry("replicated", (10, 10))


def sharded(world_size: int) -> TensorEntry:
    everywhere = ChunkSharding(0, tuple(range(world_size)))
    return TensorEntry("sharded", (20, 20), saved=everywhere, loaded=everywhere)


def distributed(coordinator: int = 0, world_size: int = 4) -> Scenario:
    operation = Operation(world_size, coordinator, "legacy")
    return Scenario(entries=(sharded(world_size), REPLICATED, OBJECT), save=operation, load=operation)


NO_DIST = Scenario(
    entries=(REPLICATED, OBJECT),
    save=Operation(api="legacy", distributed=False),
    load=Operation(api="legacy", distributed=False),
)


def failing(
    scenario: Scenario,
    operation: Literal["save", "load"],
    hook: str,
    rank: int,
    through: Literal["call", "future"] = "call",
) -> Scenario:
    return replace(scenario, faults=(Fault(operation, rank, hook, "ValueError", through),))


@dataclass(frozen=True)
class Row:
    """A class or test function of torch's, the law that covers it, and what it does as scenarios."""

    upstream: str
    law: Callable[..., None]
    scenarios: tuple[Scenario, ...]


ROWS = (
    Row(
        "TestModule",
        test_round_trip.test_round_trip,
        (
            Scenario(
                entries=(
                    TensorEntry("sharded", (4, 4), saved=ChunkSharding(0, (0, 1)), loaded=ChunkSharding(0, (0, 1))),
                    TensorEntry("regular", (4, 4)),
                ),
                save=Operation(2),
                load=Operation(2),
                container="module",
            ),
        ),
    ),
    Row("FaultyStorageWriter", test_blame.test_blame_at_save, (distributed(),)),
    Row("FaultyStorageReader", test_blame.test_blame_at_load, (distributed(),)),
    Row("TestDistributedFailure.test_dummy_writer_works", test_round_trip.test_round_trip, (distributed(0, 2),)),
    Row("TestDistributedFailure.test_dummy_reader_works", test_round_trip.test_round_trip, (distributed(0, 2),)),
    Row(
        "TestDistributedFailure.test_save_error_handling",
        test_blame.test_blame_at_save,
        (
            failing(distributed(), "save", "writer.set_up_storage_writer", 0),
            failing(distributed(), "save", "writer.finish", 0),
            failing(distributed(), "save", "writer.prepare_global_plan", 0),
            failing(distributed(), "save", "writer.prepare_local_plan", 0),
            failing(distributed(), "save", "writer.write_data", 2),
            failing(distributed(), "save", "writer.write_data", 3, "future"),
            failing(distributed(1), "save", "writer.set_up_storage_writer", 1),
            failing(distributed(1), "save", "writer.finish", 1),
        ),
    ),
    Row(
        "TestDistributedFailure.test_save_error_handling_no_dist",
        test_blame.test_blame_at_save,
        (
            failing(NO_DIST, "save", "writer.set_up_storage_writer", 0),
            failing(NO_DIST, "save", "writer.finish", 0),
            failing(NO_DIST, "save", "writer.prepare_global_plan", 0),
            failing(NO_DIST, "save", "writer.prepare_local_plan", 0),
            failing(NO_DIST, "save", "writer.write_data", 0),
            failing(NO_DIST, "save", "writer.write_data", 0, "future"),
        ),
    ),
    Row(
        "TestDistributedFailure.test_load_error_handling",
        test_blame.test_blame_at_load,
        (
            distributed(),
            failing(distributed(), "load", "reader.set_up_storage_reader", 0),
            failing(distributed(), "load", "reader.prepare_global_plan", 0),
            failing(distributed(), "load", "reader.read_metadata", 0),
            failing(distributed(), "load", "reader.prepare_local_plan", 1),
            failing(distributed(), "load", "reader.read_data", 3),
            failing(distributed(), "load", "reader.read_data", 1, "future"),
            failing(distributed(3), "load", "reader.set_up_storage_reader", 0),
            failing(distributed(1), "load", "reader.read_metadata", 3),
            failing(distributed(2), "load", "reader.read_data", 0),
            failing(distributed(3), "load", "reader.read_data", 2, "future"),
            failing(distributed(1), "load", "reader.prepare_global_plan", 1),
        ),
    ),
    Row(
        "TestDistributedFailure.test_load_error_handling_no_dist",
        test_blame.test_blame_at_load,
        (
            NO_DIST,
            failing(NO_DIST, "load", "reader.set_up_storage_reader", 0),
            failing(NO_DIST, "load", "reader.read_metadata", 0),
            failing(NO_DIST, "load", "reader.prepare_local_plan", 0),
            failing(NO_DIST, "load", "reader.prepare_global_plan", 0),
            failing(NO_DIST, "load", "reader.read_data", 0),
            failing(NO_DIST, "load", "reader.read_data", 0, "future"),
        ),
    ),
)
METADATA_ROWS = (
    Row(
        "TestDistributedCheckpointing.test_tensor_metadata_with_missing_rank_spec",
        test_metadata.test_default_metadata,
        (
            Scenario(
                entries=(TensorEntry("st", (4, 4), "float64", saved=ChunkSharding(0, (1,))),),
                save=Operation(2),
            ),
        ),
    ),
    Row(
        "TestDistributedCheckpointing.test_default_metadata",
        test_metadata.test_default_metadata,
        (
            Scenario(
                entries=(
                    TensorEntry("sharded", (10, 10), saved=ChunkSharding(0, (0, 1))),
                    TensorEntry("replicated", (4,)),
                    OBJECT,
                ),
                save=Operation(2),
            ),
        ),
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.upstream)
def test_row_holds(row: Row, world: SimulatedWorld) -> None:
    for scenario in row.scenarios:
        outcome = world.run(scenario)
        judge(scenario, outcome).raise_for_violation()
        failed = outcome.load or outcome.save
        # torch's test asks for less: that the ranks that were made to fail are those in the exception.
        named = {rank for seen in failed.ranks if isinstance(seen, Raised) for rank, _ in seen.failures or ()}
        assert named == {fault.rank for fault in scenario.faults}


@pytest.mark.parametrize("row", METADATA_ROWS, ids=lambda row: row.upstream)
def test_metadata_row_holds(row: Row, world: SimulatedWorld) -> None:
    for scenario in row.scenarios:
        records = metadata_of_each_rank(scenario, world)
        judge_default_metadata(scenario, records).raise_for_violation()
        for record in records:
            chunks = {tensor.fqn: len(tensor.chunks) for tensor in record.tensors}
            assert chunks == {
                str(entry.key): len(entry.saved.ranks) if isinstance(entry.saved, ChunkSharding) else 1
                for entry in scenario.entries
                if isinstance(entry, TensorEntry)
            }


def metadata_of_each_rank(scenario: Scenario, world: SimulatedWorld) -> list[MetadataRecord]:
    launched = world.launch(lambda rank: default_metadata(scenario, rank), scenario.save.world_size)
    return [record for record in launched.ranks if not isinstance(record, Deadlocked | Died)]


def test_module_holds_both_kinds_of_tensors(world: SimulatedWorld) -> None:
    """The case of ``TestModule`` is what it says: a ``ShardedTensor`` and a parameter, each loaded in place."""
    (scenario,) = ROWS[0].scenarios
    loaded = world.run(scenario).load
    assert loaded is not None
    for seen in loaded.ranks:
        kinds = {entry.path[0]: entry.kind for entry in getattr(seen, "state", ()) if isinstance(entry, TensorState)}
        assert kinds == {"sharded": "ShardedTensor", "regular": "Tensor"}


def test_every_law_named_is_one() -> None:
    laws = [function for module in (test_blame, test_metadata, test_round_trip) for function in vars(module).values()]
    for row in ROWS + METADATA_ROWS:
        assert row.law in laws
        assert is_hypothesis_test(row.law)
