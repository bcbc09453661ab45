"""The simulated world: the ranks of a scenario as threads of this process, one at a time, without sockets or clocks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import torch

from ..abandoned import Abandoned
from ..damage import takes_older_save
from ..do_damage import older_path
from ..earlier import earlier_save
from ..example import checkpoint_in
from ..hygiene import as_if_first, forget_examples, quiet
from ..launched import Launched
from ..older import make_old
from ..operations import Schedule
from ..outcome import Deadlocked, Hit, OperationOutcome, Outcome, RankOutcome
from ..patches import Patch, applied
from ..program import Call, make_group, round_trip, run_rank
from ..record import place_in_dcp
from ..scenario import Scenario
from ..state import StateDict
from ..storages import find_storage
from .exchange import Exchange
from .fsdp import fsdp_patches
from .groups import RankContext, group_patches
from .meshes import mesh_patches
from .object_collectives import object_collective_patches
from .rank_local import OfEachRank
from .rank_threads import RankThreads
from .scheduler import Scheduler, Task
from .threads import thread_patches

__all__ = ["Launched", "SimulatedWorld"]

T = TypeVar("T")
_NATURAL = Schedule()


def _nothing() -> None:
    """An example begins for all ranks at once, in :meth:`SimulatedWorld.example`."""


class SimulatedWorld:
    """Runs scenarios, each in worlds of its own size; a context manager that keeps its threads until it ends.

    Two runs of one scenario give equal outcomes, schedules included. A run leaves no file, group, thread or replaced
    global behind, whatever happened in it. Runs must not overlap in one process.
    """

    name = "simulated"
    group_of = staticmethod(make_group)
    begin_in_rank = staticmethod(_nothing)

    def __init__(self) -> None:
        self._threads = RankThreads()
        self._contexts: dict[int, list[RankContext]] = {}
        self._reported: list[Any] = []
        self._patches: list[Patch] = [
            *thread_patches(_enter_thread),
            *object_collective_patches(),
            *mesh_patches(),
            *fsdp_patches(),
        ]
        shared_memory = Path("/dev/shm")
        self._directory = str(shared_memory) if shared_memory.is_dir() else None

    def __enter__(self) -> SimulatedWorld:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and drop the groups; the world can be used again and then makes new ones."""
        self._threads.close()
        self._contexts.clear()

    def run(self, scenario: Scenario) -> Outcome:
        """Save on every rank of one world, then load on every rank of another; see :class:`worlds.outcome.Outcome`.

        What DCP raises is part of the outcome. Raises what went wrong outside DCP.
        """
        directory = self.new_directory()
        path = checkpoint_in(directory)
        try:
            if takes_older_save(scenario.damages):
                with self.example():
                    self.operate(scenario, "save", older_path(path), prepare=make_old)
            if (earlier := earlier_save(scenario)) is not None:
                with self.example():
                    self.operate(earlier[0], "save", path, prepare=make_old, call=earlier[1])
            with self.example():
                operate = partial(self.operate, scenario, path=path)
                return round_trip(scenario, path, partial(operate, "save"), partial(operate, "load"))
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def new_directory(self) -> str:
        """A new directory for an example, for whoever made it to remove."""
        return tempfile.mkdtemp(prefix=f"dcp-stress-{os.getpid()}-", dir=self._directory)

    @contextmanager
    def example(self) -> Iterator[None]:
        """Inside the block, what DCP remembers in a process is empty at first, and outlives an operation."""
        with quiet(), as_if_first(OfEachRank):
            yield

    def operate(
        self,
        scenario: Scenario,
        name: Literal["save", "load"],
        path: str,
        *,
        fresh: bool = False,
        call: Call | None = None,
        prepare: Callable[[StateDict], None] | None = None,
    ) -> OperationOutcome:
        """Save to, or load from, the directory ``path`` alone, as a part of an :meth:`example`.

        With ranks of which nothing is remembered if ``fresh``, as at the beginning of the example.
        """
        if fresh:
            forget_examples(OfEachRank)
        operation = scenario.operation(name)
        find_storage(scenario.storage)  # before there are ranks, so that a thread that it starts is not one of theirs
        hits: list[Hit] = []

        def body(rank: int) -> RankOutcome | None:
            return run_rank(scenario, name, rank, path, hits, call=call, prepare=prepare)

        launched = self._launch(body, operation.whole_world, operation.schedule, operation.distributed)
        seen = [launched.ranks[operation.global_rank(rank)] for rank in range(operation.world_size)]
        return OperationOutcome(tuple(rank for rank in seen if rank is not None), tuple(hits), launched.schedule)

    def report_in_rank(self, what: Any) -> None:
        """In a rank, tells what :meth:`launch` is to say of it even if the rank never ends."""
        self._reported.append(what)

    def launch(
        self,
        body: Callable[[int], T],
        world_size: int,
        *,
        schedule: Schedule = _NATURAL,
        distributed: bool = True,
        fresh: bool | None = None,
    ) -> Launched[T]:
        """Run ``body(rank)`` on every rank of a world, with ``torch.distributed`` initialised unless told otherwise.

        By itself, or as a part of an :meth:`example`: then with ranks of which nothing is remembered if ``fresh``.
        Raises what a body raises, the lowest rank's, after all have ended.
        """
        if fresh is not None:
            if fresh:
                forget_examples(OfEachRank)
            return self._launch(body, world_size, schedule, distributed)
        with quiet(), as_if_first(OfEachRank):
            return self._launch(body, world_size, schedule, distributed)

    def _launch(self, body: Callable[[int], T], world_size: int, schedule: Schedule, distributed: bool) -> Launched[T]:
        scheduler = Scheduler(schedule.order, threads_first=schedule.threads_first)
        kept = self._contexts.pop(world_size, None) if distributed else None
        contexts = kept or [RankContext(rank, world_size) for rank in range(world_size)]
        exchange = Exchange()
        self._reported = []
        results: dict[int, T] = {}
        errors: dict[int, BaseException] = {}
        tasks = [scheduler.add_rank(rank, context) for rank, context in enumerate(contexts)]

        def work(rank: int) -> None:
            try:
                with contexts[rank].entered(exchange, distributed=distributed):
                    results[rank] = body(rank)
            except Abandoned:
                raise
            except BaseException as error:
                errors[rank] = error

        with ExitStack() as stack:
            stack.enter_context(applied([*group_patches(), *self._patches]))
            stack.callback(_isolate_threads, False)
            _isolate_threads(True)
            for rank, task in enumerate(tasks):
                task.baton = self._threads.assign(rank, partial(task.run, partial(work, rank)))
            self._threads.follow()
            scheduler.run()
        # Whatever comes of a rank that waits for ever, when it is abandoned, may be what DCP makes of that.
        ended = {task.rank for task in tasks if task not in scheduler.stuck}
        if failed := errors.keys() & ended:
            raise errors[min(failed)]
        if distributed and all(context.is_pristine() for context in contexts):
            self._contexts[world_size] = contexts
        ranks = tuple(results[task.rank] if task.rank in ended else _deadlocked(scheduler, task) for task in tasks)
        trace = tuple(f"{name}: {waiting}" for name, waiting in scheduler.trace)
        return Launched(ranks, trace, tuple(self._reported))


def _isolate_threads(enable: bool) -> None:
    """Give each thread a registry of process groups of its own, in C++, for functional collectives."""
    torch._C._distributed_c10d._set_thread_isolation_mode(enable)  # type: ignore[attr-defined]


def _enter_thread(task: Task) -> None:
    """A thread that a rank has started sees the rank's groups."""
    task.context.register()


def _deadlocked(scheduler: Scheduler, task: Task) -> Deadlocked:
    """Of a rank that waits for ever: for others, if one of its threads does, or else for itself."""
    own = [task, *(other for other in scheduler.stuck if other.rank == task.rank and other is not task)]
    waiting = next((other for other in own if scheduler.stuck[other].group), task)
    return Deadlocked(scheduler.stuck[waiting], place=place_in_dcp(scheduler.frames[waiting]))
