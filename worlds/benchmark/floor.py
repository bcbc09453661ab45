"""The floor: the planner and storage calls of a save and a load, for all ranks in a plain loop, with no world at all.

Which calls, with what arguments and in which order, follows ``torch.distributed.checkpoint.state_dict_saver`` and
``state_dict_loader`` of torch 2.13. Whatever runs DCP on all ranks has to make them.
"""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.planner import LoadPlan, SavePlan

from ..outcome import Deadlocked, Died, EntryState
from ..scenario import Scenario
from ..simulated import Launched, SimulatedWorld
from ..state import StateDict
from .example import Failed

__all__ = ["Floor"]


class Floor:
    """Saves and loads the state dicts of all ranks of ``scenario``, which are built once, before; a context manager."""

    def __init__(self, scenario: Scenario) -> None:
        self._options = scenario.writer
        self._directory = tempfile.TemporaryDirectory(prefix="dcp-stress-floor-")
        self._examples = 0
        # A ShardedTensor is built in a process group, which it does not need any more once it is there.
        with SimulatedWorld() as world:
            self._saved = _built(world.launch(lambda rank: StateDict(scenario, "save", rank), scenario.save.world_size))
            self._loaded = _built(
                world.launch(lambda rank: StateDict(scenario, "load", rank), scenario.load.world_size)
            )

    def __enter__(self) -> Floor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._directory.cleanup()

    def run(self) -> None:
        """One save to a new directory, and one load of it."""
        self._examples += 1
        path = f"{self._directory.name}/{self._examples}"
        self._save(path)
        self._load(path)

    def observe(self) -> list[tuple[EntryState, ...]]:
        """What each rank holds after the loads."""
        return [state.observe() for state in self._loaded]

    def _save(self, path: str) -> None:
        ranks = range(len(self._saved))
        writers = [self._writer(path) for _ in ranks]
        planners = [dcp.DefaultSavePlanner() for _ in ranks]
        plans: list[SavePlan] = []
        for rank, (state, writer, planner) in enumerate(zip(self._saved, writers, planners, strict=True)):
            writer.reset(path)
            planner.set_up_planner(
                state_dict=dict(state.entries), storage_meta=writer.storage_meta(), is_coordinator=rank == 0
            )
            writer.set_up_storage_writer(rank == 0, rank=rank, use_collectives=True)
            plans.append(writer.prepare_local_plan(planner.create_local_plan()))
        plans, metadata = planners[0].create_global_plan(plans)
        plans = writers[0].prepare_global_plan(plans)
        results = []
        for plan, writer, planner in zip(plans, writers, planners, strict=True):
            written = writer.write_data(planner.finish_plan(plan), planner)
            written.wait()
            results.append(written.value())
        writers[0].finish(metadata=metadata, results=results)

    def _load(self, path: str) -> None:
        ranks = range(len(self._loaded))
        readers = [dcp.FileSystemReader(path) for _ in ranks]
        planners = [dcp.DefaultLoadPlanner() for _ in ranks]
        targets = [{fqn: state.entries[fqn] for fqn in sorted(state.entries)} for state in self._loaded]
        plans: list[LoadPlan] = []
        for rank, (target, reader, planner) in enumerate(zip(targets, readers, planners, strict=True)):
            reader.reset(path)
            metadata = reader.read_metadata()
            planner.set_up_planner(target, metadata, rank == 0)
            reader.set_up_storage_reader(metadata, rank == 0, rank=rank, use_collectives=True)
            plans.append(reader.prepare_local_plan(planner.create_local_plan()))
        plans = planners[0].create_global_plan(plans)
        plans = readers[0].prepare_global_plan(plans)
        for plan, reader, planner in zip(plans, readers, planners, strict=True):
            reader.read_data(planner.finish_plan(plan), planner).wait()
        for state, target in zip(self._loaded, targets, strict=True):
            state.entries.update(target)

    def _writer(self, path: str) -> dcp.FileSystemWriter:
        options: dict[str, Any] = {
            "single_file_per_rank": self._options.single_file_per_rank,
            "sync_files": self._options.sync_files,
            "thread_count": self._options.thread_count,
        }
        return dcp.FileSystemWriter(path, **options)


def _built(launched: Launched[StateDict]) -> list[StateDict]:
    states: list[StateDict] = []
    for state in launched.ranks:
        if isinstance(state, Deadlocked | Died):
            raise Failed(f"a rank did not build its state dict: {state}")
        states.append(state)
    return states
