"""Faults strike where they are placed, in any storage and planner, and change nothing else."""

from __future__ import annotations

import inspect
from typing import Any, Literal

import pytest
import torch.distributed.checkpoint as dcp
from hypothesis import find, settings
from torch.distributed.checkpoint.planner import LoadPlanner, SavePlanner

from properties import judge
from strategies import failing_ranks
from worlds import ChunkSharding, Fault, Nested, ObjectEntry, Operation, Scenario, SimulatedWorld, TensorEntry
from worlds.hooks import HOOKS
from worlds.inject import Injection
from worlds.outcome import Hit
from worlds.state import Stateful

PLACES = [(*place, "call") for place in HOOKS]
PLACES += [(*place, "future") for place, hook in HOOKS.items() if hook.future]


@pytest.mark.parametrize(("operation", "hook", "through"), PLACES)
@pytest.mark.parametrize("error", ["OSError", "KeyboardInterrupt"])
def test_every_hook_fails_when_it_is_told_to(
    operation: Literal["save", "load"], hook: str, through: Literal["call", "future"], error: str, world: SimulatedWorld
) -> None:
    """On the coordinator, which has something to write and to read, each fault is reached and, if protected, blamed."""
    everywhere = ChunkSharding(0, (0, 1))
    stateful = hook.startswith("stateful.")  # which the API that lets the coordinator be chosen does not know
    both = Operation(2) if stateful else Operation(2, 1, "legacy")
    scenario = Scenario(
        entries=(
            TensorEntry("a", (4,), saved=everywhere, loaded=everywhere),
            ObjectEntry("b", 1),
            *([Nested("c", "stateful")] if stateful else []),
        ),
        save=both,
        load=both,
        faults=tuple(Fault(operation, rank, hook, error, through) for rank in (0, 1)),
    )
    outcome = world.run(scenario)
    struck = outcome.save if operation == "save" else outcome.load
    assert struck is not None
    assert struck.hits
    if HOOKS[operation, hook].phase is not None:
        judge(scenario, outcome).raise_for_violation()
        assert not struck.returned


class OldReader(dcp.FileSystemReader):
    """A storage as others write it: with a method of the old signature, and one that calls another."""

    def set_up_storage_reader(self, metadata: Any, is_coordinator: bool) -> None:
        self.storage_data = metadata.storage_data

    def read_twice(self) -> Any:
        return self.read_metadata(), self.read_metadata()


@pytest.mark.parametrize("method", ["set_up_storage_reader", "read_metadata"])
def test_signature_is_kept(method: str, tmp_path: Any) -> None:
    """DCP looks at the parameters to decide how to call."""
    scenario = Scenario(faults=(Fault("load", 0, f"reader.{method}"),))
    reader = OldReader(tmp_path)
    before = inspect.signature(getattr(reader, method))
    Injection(scenario, "load", 0, []).place("reader", reader)
    assert inspect.signature(getattr(reader, method)) == before
    assert type(reader) is OldReader


def test_storage_that_calls_itself_meets_the_fault_too(tmp_path: Any) -> None:
    hits: list[Hit] = []
    reader = OldReader(tmp_path)
    Injection(Scenario(faults=(Fault("load", 0, "reader.read_metadata"),)), "load", 0, hits).place("reader", reader)
    with pytest.raises(OSError, match="injected fault 0"):
        reader.read_twice()
    assert hits == [Hit(0)]


def test_rank_and_operation_without_a_fault_are_left_alone(tmp_path: Any) -> None:
    scenario = Scenario(save=Operation(2), load=Operation(2), faults=(Fault("load", 1, "reader.read_data"),))
    reader = OldReader(tmp_path)
    before = dict(vars(reader))
    Injection(scenario, "load", 0, []).place("reader", reader)
    Injection(scenario, "save", 1, []).place("reader", reader)
    assert vars(reader) == before


def test_hook_names_are_methods_of_what_they_fail_in() -> None:
    owners = {
        "writer": dcp.FileSystemWriter,
        "reader": dcp.FileSystemReader,
        "stateful": Stateful,
        ("save", "planner"): SavePlanner,
        ("load", "planner"): LoadPlanner,
    }
    for operation, hook in HOOKS:
        owner, method = hook.split(".")
        assert callable(getattr(owners.get(owner) or owners[operation, owner], method))


def test_smallest_failing_set_with_the_coordinator() -> None:
    quick = settings(database=None, derandomize=True)
    assert find(failing_ranks(world_size=4, coordinator=3), lambda ranks: 3 in ranks, settings=quick) == {3}
