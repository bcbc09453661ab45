"""The process world: the ranks of a scenario as processes with real gloo, in pools that outlive examples."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from ..damage import takes_older_save
from ..do_damage import older_path
from ..earlier import earlier_save
from ..example import checkpoint_in
from ..hygiene import forget_examples
from ..launched import Launched
from ..older import make_old
from ..operations import Schedule
from ..outcome import OperationOutcome, Outcome, RankOutcome
from ..program import Call, round_trip
from ..scenario import Scenario
from ..storages import require_shared
from . import jobs
from .pool import Answers, Pool
from .rank import rank_reports
from .spawner import Spawner
from .sub_groups import sub_group_of

__all__ = ["ProcessWorld"]

T = TypeVar("T")
_NATURAL = Schedule()
_Key = tuple[int, bool]


class ProcessWorld:
    """Runs scenarios on real processes; a context manager that keeps its processes until it ends.

    ``max_processes`` bounds how many are kept, where one world does not need more; ``timeout`` is that of the process
    groups, and ``patience`` how long an operation may take, both in seconds: far more than a healthy rank needs, since
    ranks that wait for each other are found by what they do. The order in which ranks run is the system's, so that a
    schedule is not followed. Runs must not overlap. When the driver dies, its processes and files go with it.
    """

    name = "processes"
    group_of = staticmethod(sub_group_of)
    begin_in_rank = staticmethod(forget_examples)
    report_in_rank = staticmethod(rank_reports)

    def __init__(
        self, *, max_processes: int = 56, timeout: float = 1800, survivors_timeout: float = 3, patience: float = 300
    ) -> None:
        self._max_processes = max_processes
        self._timeout = timeout
        self._patience = patience
        self.survivors_timeout = survivors_timeout
        """The timeout of a group, in seconds, in whose ranks some die; short, since it may have to be waited for."""
        self._pools: OrderedDict[_Key, Pool] = OrderedDict()
        self._numbers = count()
        self._directory: str | None = None
        self._spawner: Spawner | None = None

    def __enter__(self) -> ProcessWorld:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and remove the files; the world can be used again and then starts new ones."""
        for pool in self._pools.values():
            pool.forget()
        self._pools.clear()
        if self._spawner is not None:
            self._spawner.close()
            self._spawner = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def run(self, scenario: Scenario) -> Outcome:
        """Save on every rank of one world, then load on every rank of another; see :class:`worlds.outcome.Outcome`.

        What DCP raises is part of the outcome. Raises what went wrong outside DCP.
        """
        path = self.new_directory()
        try:
            return self._run(scenario, checkpoint_in(path))
        finally:
            shutil.rmtree(path, ignore_errors=True)

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

        With ranks of which nothing is remembered if ``fresh``. ``body`` and what it returns must be picklable: a
        function of a module, or a ``partial`` of one. Raises what a body raises, the lowest rank's, after all have
        ended.
        """
        del schedule  # the system's, here
        answers = self._on_pool(
            (world_size, distributed), lambda rank: partial(jobs.call, body, rank, fresh=bool(fresh))
        )
        answers.raise_broken()
        return Launched(tuple(answers.ranks[rank] for rank in range(world_size)), (), answers.reached_in_order())

    def keeps(self, scenario: Scenario, name: Literal["save", "load"]) -> bool:
        """Whether the ranks that ran this operation are still there for the next one."""
        return _key(scenario, name) in self._pools

    def new_directory(self) -> str:
        """A new directory for an example, that goes with this world at the latest."""
        self._start()
        path = f"{self._directory}/example-{next(self._numbers)}"
        os.mkdir(path)
        return path

    def example(self) -> AbstractContextManager[None]:
        """An example, which :meth:`operate` begins by itself in the ranks."""
        return nullcontext()

    def spawner(self) -> Spawner:
        """What starts the processes of this world."""
        self._start()
        assert self._spawner is not None
        return self._spawner

    def new_pool(self, world_size: int, *, distributed: bool = True, **options: Any) -> Pool:
        """A pool of its own, for whoever does more than :meth:`run`, and closes it."""
        pool = Pool(self.spawner(), world_size, patience=self._patience, **options)
        if not distributed:
            return pool
        pool.groups = 1
        store = f"{self._directory}/store-{next(self._numbers)}"
        try:
            pool.run(lambda rank: partial(jobs.join, store, rank, world_size, self._timeout)).raise_broken()
        except BaseException:
            pool.close()
            raise
        return pool

    def _run(self, scenario: Scenario, path: str) -> Outcome:
        require_shared(scenario.storage)
        if takes_older_save(scenario.damages):
            self.operate(scenario, "save", older_path(path), prepare=make_old)
        if (earlier := earlier_save(scenario)) is not None:
            self.operate(earlier[0], "save", path, prepare=make_old, call=earlier[1])
        # In the same processes, as in the simulated world, what the save has left in DCP is there at the load.
        same = _key(scenario, "save") == _key(scenario, "load")
        load = partial(self.operate, scenario, "load", path, fresh=not same)
        return round_trip(scenario, path, partial(self.operate, scenario, "save", path), load)

    def operate(
        self,
        scenario: Scenario,
        name: Literal["save", "load"],
        path: str,
        *,
        fresh: bool = True,
        job: Callable[..., RankOutcome | None] = jobs.operate,
        call: Call | None = None,
        **options: Any,
    ) -> OperationOutcome:
        """Save to, or load from, the directory ``path`` alone, with ranks of which nothing is remembered if ``fresh``.

        Each rank runs ``job``, which has the parameters of :func:`worlds.processes.jobs.operate`; it must be picklable,
        as must the ``options`` and ``call``.
        """
        if call is not None:
            options["call"] = call
        key = _key(scenario, name)
        answers = self._on_pool(key, lambda rank: partial(job, scenario, name, rank, path, fresh=fresh, **options))
        answers.raise_broken()
        operation = scenario.operation(name)
        seen = [answers.ranks[operation.global_rank(rank)] for rank in range(operation.world_size)]
        return OperationOutcome(tuple(seen), answers.reached_in_order())

    def _on_pool(self, key: _Key, job: Callable[[int], Callable[[], Any]]) -> Answers:
        pool = self._pool(key)
        try:
            return pool.run(job)
        finally:
            if not pool.usable:
                self._pools.pop(key, None)
                pool.close()

    def _pool(self, key: _Key) -> Pool:
        """The pool of that size, the one that was used last; others go where there are too many processes."""
        if key not in self._pools:
            world_size, distributed = key
            while self._pools and self._processes() + world_size > self._max_processes:
                self._pools.popitem(last=False)[1].close()
            self._pools[key] = self.new_pool(world_size, distributed=distributed)
        self._pools.move_to_end(key)
        return self._pools[key]

    def _processes(self) -> int:
        return sum(len(pool.ranks) for pool in self._pools.values())

    def _start(self) -> None:
        if self._spawner is not None:
            return
        shared_memory = Path("/dev/shm")
        parent = str(shared_memory) if shared_memory.is_dir() else None
        self._directory = tempfile.mkdtemp(prefix=f"dcp-stress-{os.getpid()}-", dir=parent)
        self._spawner = Spawner(self._directory)


def _key(scenario: Scenario, name: Literal["save", "load"]) -> _Key:
    operation = scenario.operation(name)
    return operation.whole_world, operation.distributed
