"""The ranks of one world: processes in one gloo group that run one job after the other, and what becomes of each job.

A rank that hangs is found by what the ranks do, not by how long they take: every rank that has not answered stands in
a collective or in a wait without a time limit, no thread of it that runs Python has run between several looks, and none
of its other threads is at work. A rank that has answered stays alive meanwhile, so that its peers' connections do.
"""

from __future__ import annotations

import pickle
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from ..outcome import Deadlocked, Died, Waiting
from .activity import Activity, activity
from .messages import DAEMON, LOOK, Broken, Done, Reached, Seen, Standing
from .spawner import RankProcess, Spawner

__all__ = ["Answers", "Pool", "RankFailed", "all_wait", "deadlocked", "places"]

_TICK = 0.05  # seconds between two looks
_QUIET_LOOKS = 8  # that must show nothing new
_LOOK_LIMIT = 5.0  # seconds that a rank may take to say where it stands; one that does not is at work


class RankFailed(RuntimeError):
    """What a job raised in a rank, where the exception itself cannot leave it."""


@dataclass
class Answers:
    """What became of a job on each rank: what it returned, :class:`Deadlocked` or :class:`Died`."""

    ranks: dict[int, Any] = field(default_factory=dict)
    reached: dict[int, list[Any]] = field(default_factory=dict)
    """What each rank told of on its way."""
    broken: dict[int, Broken] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    """The ranks whose job has returned."""
    groups: set[tuple[int, int]] = field(default_factory=set)
    """How many groups there are, and how many collectives the default one saw: out of step, it is of no use."""

    def reached_in_order(self) -> tuple[Any, ...]:
        """What the ranks told of, by rank."""
        return tuple(what for _, told in sorted(self.reached.items()) for what in told)

    def raise_broken(self) -> None:
        """Raise what a job raised, the lowest rank's."""
        if not self.broken:
            return
        broken = self.broken[min(self.broken)]
        if broken.error is None:
            raise RankFailed(broken.text)
        error: BaseException = pickle.loads(broken.error)
        error.add_note(f"raised in rank {min(self.broken)}:\n{broken.text}")
        raise error


class Pool:
    """``world_size`` rank processes; ``patience`` is how many seconds a job may take, and only a last resort."""

    def __init__(self, spawner: Spawner, world_size: int, *, patience: float, sees_deadlocks: bool = True) -> None:
        self._spawner = spawner
        self._patience = patience
        self._sees_deadlocks = sees_deadlocks
        self.ranks: list[RankProcess] = spawner.spawn(world_size)
        self.groups = 0
        """How many process groups the ranks are to have."""
        self.usable = True
        """Whether another job can be run: every rank lives, and none is behind the others in a collective."""

    def close(self) -> None:
        """End the ranks, and wait until they have ended."""
        self.usable = False
        self._spawner.kill(self.ranks)
        self.ranks = []

    def forget(self) -> None:
        """Close the connections to the ranks, which end by that if they have not yet."""
        self.usable = False
        for process in self.ranks:
            process.close()
        self.ranks = []

    def run(self, job: Callable[[int], Callable[[], Any]]) -> Answers:
        """Run ``job(rank)``, which must be picklable, on every rank, and wait until all have answered or cannot."""
        answers = Answers()
        for rank, process in enumerate(self.ranks):
            process.go_on()
            data = pickle.dumps(job(rank))
            try:
                process.connection.send_bytes(data)
            except OSError:
                answers.ranks[rank] = self._how_it_died(process)
        try:
            _Waiting(self, answers).wait()
        except BaseException:  # Ctrl-C, say; nobody knows where the ranks stand
            self.usable = False
            raise
        healthy = len(answers.groups) == 1 and next(iter(answers.groups))[0] == self.groups and not answers.broken
        if not healthy or any(isinstance(seen, Died | Deadlocked) for seen in answers.ranks.values()):
            self.usable = False
        if self.usable:
            for process in self.ranks:
                process.stop()
        return answers

    def _how_it_died(self, process: RankProcess) -> Died:
        code = self._spawner.exit_code(process)
        return Died(f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}")


class _Waiting:
    """Waits until every rank of a pool has answered a job, has died, or waits for ever."""

    def __init__(self, pool: Pool, answers: Answers) -> None:
        self._pool = pool
        self._answers = answers
        self._numbers: dict[Connection, int] = {
            process.connection: rank for rank, process in enumerate(pool.ranks) if rank not in answers.ranks
        }
        self._watch = _Watch()

    def wait(self) -> None:
        """Return when nothing more will come."""
        end = time.monotonic() + self._pool._patience
        while unfinished := self._unfinished():
            if self._receive():
                self._watch = _Watch()
            elif self._pool._sees_deadlocks and self._watch.nothing_will_come(
                [self._pool.ranks[rank].pid for rank in unfinished], lambda: self._look(unfinished)
            ):
                self._give_up()
            elif time.monotonic() > end:
                self._watch.seen = self._look(unfinished)
                self._give_up()

    def _unfinished(self) -> list[int]:
        answered = self._answers.ranks.keys() | self._answers.broken.keys()
        return [rank for rank in range(len(self._pool.ranks)) if rank not in answered]

    def _receive(self) -> bool:
        """Take in what has come, after at most a tick; whether anything has."""
        ready = wait(list(self._numbers), _TICK)
        for connection in ready:
            assert isinstance(connection, Connection)
            self._take(connection)
        return bool(ready)

    def _take(self, connection: Connection) -> Seen | None:
        rank = self._numbers[connection]
        try:
            message = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            del self._numbers[connection]
            if rank in self._unfinished():
                self._answers.ranks[rank] = self._pool._how_it_died(self._pool.ranks[rank])
            else:  # it had answered; so the pool is of no use any more
                self._pool.usable = False
            return None
        match message:
            case Reached(what):
                self._answers.reached.setdefault(rank, []).append(what)
            case Done(value, groups, collectives):
                self._answers.ranks[rank] = value
                self._answers.answered.add(rank)
                self._answers.groups.add((groups, collectives))
            case Broken():
                self._answers.broken[rank] = message
            case Seen():
                return message
        return None

    def _look(self, ranks: Sequence[int]) -> dict[int, Seen]:
        """Ask those ranks where they stand; one that answers its job or dies instead is left out."""
        seen = {}
        for rank in ranks:
            connection = self._pool.ranks[rank].connection
            try:
                connection.send_bytes(LOOK)
            except OSError:
                continue
            while rank not in seen and connection in self._numbers and connection.poll(_LOOK_LIMIT):
                message = self._take(connection)
                if message is not None:
                    seen[rank] = message
        return seen

    def _give_up(self) -> None:
        for rank in self._unfinished():
            threads = self._watch.seen[rank].threads if rank in self._watch.seen else ()
            self._answers.ranks[rank] = deadlocked(threads, self._pool._patience)


class _Watch:
    """Looks at ranks that have not answered, until it is sure that nothing will come of them."""

    def __init__(self) -> None:
        self.seen: dict[int, Seen] = {}
        self._before: Activity | None = None
        self._quiet = 0

    def nothing_will_come(self, processes: Sequence[int], look: Callable[[], dict[int, Seen]]) -> bool:
        """Whether it is sure by now; to be asked again and again. ``look`` asks each rank where it stands."""
        if not self.seen:
            self.seen = look()
            if len(self.seen) < len(processes) or not all_wait(self.seen):
                self.seen = {}
                return False
            self._before = self._activity(processes)
            self._quiet = 0
            return False
        now = self._activity(processes)
        if now is None or now != self._before:
            self.seen = {}
            return False
        self._quiet += 1
        if self._quiet < _QUIET_LOOKS:
            return False
        again = look()
        same = places(again) == places(self.seen) and self._activity(processes) == now
        if not same:
            self.seen = {}
        return same

    def _activity(self, processes: Sequence[int]) -> Activity | None:
        counted = {thread.native_id for seen in self.seen.values() for thread in seen.threads}
        return activity(processes, counted, {seen.watcher for seen in self.seen.values()})


def places(seen: dict[int, Seen]) -> dict[int, list[tuple[object, ...]]]:
    """Where the threads of the ranks stand, so that it is equal as long as none has moved."""
    return {rank: [(thread.native_id, *thread.place) for thread in one.threads] for rank, one in seen.items()}


def all_wait(seen: dict[int, Seen]) -> bool:
    """Whether every thread of every rank waits for another one, and each rank for other ranks or for itself."""
    return all(thread.waits is not None for one in seen.values() for thread in one.threads)


def deadlocked(threads: Sequence[Standing], patience: float) -> Deadlocked:
    """The outcome of a rank with these threads that hangs, or took longer than ``patience`` seconds."""
    in_collective = [thread for thread in threads if thread.collective]
    in_daemon = [thread for thread in threads if thread.waits == DAEMON]
    first = next(iter([*in_collective, *in_daemon, *threads]), None)
    if first is None or first.waits is None:
        waiting = Waiting(f"something, for more than {patience:g} seconds")
    else:
        waiting = first.waits
    inside = "" if first is None else first.inside
    return Deadlocked(waiting, "\n\n".join(thread.stack for thread in threads), inside)
