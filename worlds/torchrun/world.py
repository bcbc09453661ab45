"""Rank 0's side of the torchrun world: it sends each rank its part, and watches until all have answered or hang."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Literal, TypeVar

import torch.distributed as dist

from ..damage import takes_older_save
from ..do_damage import older_path
from ..earlier import earlier_save
from ..example import checkpoint_in
from ..hygiene import quiet
from ..launched import Launched
from ..older import make_old
from ..operations import Schedule
from ..outcome import OperationOutcome, Outcome
from ..processes import jobs
from ..processes.messages import Broken, Done
from ..processes.pool import Answers, all_wait, deadlocked, places
from ..program import Call, round_trip
from ..scenario import Scenario
from ..state import StateDict
from ..storages import require_shared
from .job import Channel, Look, Place, Run, Stop, job_rank, job_size
from .member import Member

__all__ = ["TorchrunWorld", "WorldTooLarge"]

T = TypeVar("T")
_NATURAL = Schedule()
_TICKS = (0.001, 0.05)  # seconds between two questions for answers, from the first to the later ones
_QUIET_LOOKS = 6  # that must show nothing new
_KEPT = 100  # commands that stay in the store, for a rank that is late to read them


class WorldTooLarge(ValueError):
    """A scenario needs more ranks than the job has."""


class TorchrunWorld:
    """Runs scenarios on the ranks of a job of torchrun; a context manager, for rank 0, that ends the other ranks.

    A scenario of w ranks runs on the first w of the job, in a process group of their own. ``directory`` is where
    checkpoints go, which all hosts of the job must see; by default a temporary one of this host. ``timeout`` is that of
    the process groups, in seconds: a rank that hangs is found by what the ranks do, and left until then.
    """

    name = "torchrun"

    def __init__(self, directory: str | None = None, *, timeout: float = 120, patience: float = 300) -> None:
        if job_rank() != 0:
            raise RuntimeError("the torchrun world is driven by rank 0; the others serve")
        self.size = job_size()
        self._channel = Channel.of_job()
        self._member = Member(self._channel.clone(), timeout=timeout)
        self._patience = patience
        self._numbers, self._commands, self._groups = count(), count(), count()
        self._group: tuple[int, str] | None = None
        self._directory = tempfile.mkdtemp(prefix="dcp-stress-", dir=directory)

    def __enter__(self) -> TorchrunWorld:
        if threading.current_thread() is threading.main_thread():
            # torchrun ends a job so, when another rank has died: then as with Ctrl-C, with nothing left behind.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the other ranks end, and remove the files."""
        with contextlib.suppress(dist.DistError):  # the job is over already
            self._say(Stop())
        shutil.rmtree(self._directory, ignore_errors=True)

    def run(self, scenario: Scenario) -> Outcome:
        """Save on every rank of one world, then load on every rank of another; see :class:`worlds.outcome.Outcome`."""
        path = f"{self._directory}/{next(self._numbers)}"
        os.mkdir(path)
        try:
            with quiet():
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
    ) -> Launched[T]:
        """Run ``body(rank)``, which must be picklable, on the first ranks of the job, as in the process world."""
        del schedule  # the system's, here
        with quiet():
            answers = self._on_ranks(world_size, distributed, lambda rank: partial(jobs.call, body, rank))
        answers.raise_broken()
        return Launched(tuple(answers.ranks[rank] for rank in range(world_size)), (), answers.reached_in_order())

    def _run(self, scenario: Scenario, path: str) -> Outcome:
        require_shared(scenario.storage)
        if takes_older_save(scenario.damages):
            self._operate(scenario, "save", older_path(path), fresh=True, prepare=make_old)
        if (earlier := earlier_save(scenario)) is not None:
            self._operate(earlier[0], "save", path, fresh=True, prepare=make_old, call=earlier[1])
        operate = partial(self._operate, scenario, path=path)
        save, load = partial(operate, "save", fresh=True), partial(operate, "load", fresh=False)
        return round_trip(scenario, path, save, load)

    def _operate(
        self,
        scenario: Scenario,
        name: Literal["save", "load"],
        path: str,
        *,
        fresh: bool,
        prepare: Callable[[StateDict], None] | None = None,
        call: Call | None = None,
    ) -> OperationOutcome:
        operation = scenario.operation(name)
        answers = self._on_ranks(
            operation.whole_world,
            operation.distributed,
            lambda rank: partial(jobs.operate, scenario, name, rank, path, fresh=fresh, prepare=prepare, call=call),
        )
        answers.raise_broken()
        seen = [answers.ranks[operation.global_rank(rank)] for rank in range(operation.world_size)]
        return OperationOutcome(tuple(seen), answers.reached_in_order())

    def _on_ranks(self, world_size: int, distributed: bool, job: Callable[[int], Callable[[], Any]]) -> Answers:
        if world_size > self.size:
            raise WorldTooLarge(f"a world of {world_size} ranks does not fit into a job of {self.size}")
        run = Run(
            next(self._numbers),
            self._group_of(world_size, distributed),
            tuple(pickle.dumps(job(rank)) for rank in range(world_size)),
        )
        self._say(run)
        self._member.start(run)
        answers = Answers()
        self._wait(run, answers)
        groups = {state[0] for state in answers.groups}
        healthy = len(answers.groups) == 1 and groups == {int(distributed)} and len(answers.ranks) == world_size
        if not healthy or len(answers.answered) < world_size:
            self._group = None
        return answers

    def _group_of(self, world_size: int, distributed: bool) -> str | None:
        """The name of the group of that size: the last one's, or that of a new one; ``None`` for no group at all."""
        if not distributed:
            self._group = None  # since the rank leaves it
            return None
        if self._group is None or self._group[0] != world_size:
            self._group = (world_size, f"group-{next(self._groups)}")
        return self._group[1]

    def _say(self, command: Run | Look | Stop) -> None:
        number = next(self._commands)
        self._channel.send(f"command/{number}", command)
        if number >= _KEPT:
            self._channel.store.delete_key(f"command/{number - _KEPT}")

    def _wait(self, run: Run, answers: Answers) -> None:
        end = time.monotonic() + self._patience
        watch = _RemoteWatch()
        tick = _TICKS[0]
        while missing := [rank for rank in range(len(run.jobs)) if rank not in answers.ranks | answers.broken]:
            if self._take(run, missing, answers):
                tick, watch = _TICKS[0], _RemoteWatch()
                continue
            time.sleep(tick)
            tick = min(_TICKS[1], 1.5 * tick)
            late = time.monotonic() > end
            if tick < _TICKS[1] and not late:
                continue
            if watch.nothing_will_come(self._look(missing)) or late:
                self._give_up(missing, watch, answers)

    def _take(self, run: Run, missing: list[int], answers: Answers) -> bool:
        """Take in the answers that have come; whether there was any."""
        found = False
        for rank in missing:
            key = f"answer/{run.number}/{rank}"
            if not self._channel.has(key):
                continue
            found = True
            answer = self._channel.take(key)
            answers.reached[rank] = list(answer.reached)
            match answer.result:
                case Done(value, groups, collectives):
                    answers.ranks[rank] = value
                    answers.groups.add((groups, collectives))
                    answers.answered.add(rank)
                case Broken():
                    answers.broken[rank] = answer.result
        return found

    def _look(self, ranks: list[int]) -> dict[int, Place]:
        look = Look(next(self._numbers), tuple(rank for rank in ranks if rank != 0))
        self._say(look)
        found = {0: self._member.place()} if 0 in ranks else {}
        return {**found, **{rank: self._channel.take(f"place/{look.number}/{rank}") for rank in look.ranks}}

    def _give_up(self, missing: list[int], watch: _RemoteWatch, answers: Answers) -> None:
        for rank in missing:
            place = watch.places.get(rank)
            answers.ranks[rank] = deadlocked(() if place is None else place.seen.threads, self._patience)
            answers.reached[rank] = [] if place is None else list(place.reached)


class _RemoteWatch:
    """Looks at the ranks that have not answered, until it is sure that nothing will come of them."""

    def __init__(self) -> None:
        self.places: dict[int, Place] = {}
        self._quiet = 0

    def nothing_will_come(self, now: dict[int, Place]) -> bool:
        """Whether ``now`` is as often the same as it takes: all wait, and nothing has run in between."""
        before, self.places = self.places, now
        seen = {rank: place.seen for rank, place in now.items()}
        same = before.keys() == now.keys() and all(
            place.activity is not None and place.activity == before[rank].activity for rank, place in now.items()
        )
        if not same or not all_wait(seen) or places(seen) != places({r: p.seen for r, p in before.items()}):
            self._quiet = 0
            return False
        self._quiet += 1
        return self._quiet >= _QUIET_LOOKS
