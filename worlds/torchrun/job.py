"""What torchrun says of the job, and how its ranks talk: pickled messages by key, in the store that torchrun keeps.

Not by collectives: a rank that hangs in one must still be asked where it stands.
"""

from __future__ import annotations

import os
import pickle
import time
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from ..processes.activity import Activity
from ..processes.messages import Broken, Done, Seen

__all__ = ["Answer", "Channel", "Look", "NoJob", "Place", "Run", "Stop", "job_rank", "job_size"]


class NoJob(RuntimeError):
    """This process was not started by torchrun."""


_PAUSES = (0.001, 0.02)  # seconds between two questions for a message, from the first to the later ones


def job_rank() -> int:
    """This process's rank in the job; raises :class:`NoJob`, with one line, outside of any."""
    return _from_torchrun("RANK")


def job_size() -> int:
    """How many ranks the job has; raises :class:`NoJob`, with one line, outside of any."""
    return _from_torchrun("WORLD_SIZE")


def _from_torchrun(name: str) -> int:
    try:
        return int(os.environ[name])
    except (KeyError, ValueError):
        what = "torchrun --nproc-per-node=4 -m pytest --world=torchrun properties"
        raise NoJob(f"the torchrun world runs in a job of torchrun: {what}") from None


@dataclass(frozen=True)
class Run:
    """Rank r is to run ``jobs[r]``, pickled; ranks beyond have nothing to do.

    ``group`` names the process group that they are in meanwhile, of as many ranks as there are jobs, or is ``None``.
    """

    number: int
    group: str | None
    jobs: tuple[bytes, ...]


@dataclass(frozen=True)
class Look:
    """Each of these ranks is to say where it stands."""

    number: int
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Stop:
    """The job is done."""


@dataclass(frozen=True)
class Answer:
    """What became of a run on one rank, and what it reached on its way."""

    result: Done | Broken
    reached: tuple[Any, ...]


@dataclass(frozen=True)
class Place:
    """Where a rank stands: its threads, whether and how often each has run, and what it has reached so far."""

    seen: Seen
    activity: Activity | None
    reached: tuple[Any, ...]


class Channel:
    """Messages by key, for one thread: a store's client waits for one thing at a time."""

    def __init__(self, store: Any) -> None:
        self.store = store

    @staticmethod
    def of_job() -> Channel:
        """The job's own, from what torchrun has put into the environment."""
        store, _, _ = next(rendezvous("env://"))
        return Channel(dist.PrefixStore("dcp-stress", store))

    def clone(self) -> Channel:
        """Another client of the same store, for another thread."""
        return Channel(self.store.clone())

    def send(self, key: str, message: Any) -> None:
        """Leave a message, which whoever knows the key can read."""
        self.store.set(key, pickle.dumps(message))

    def has(self, *keys: str) -> bool:
        """Whether there is a message for each of these keys."""
        found: bool = self.store.check(list(keys))
        return found

    def take(self, key: str) -> Any:
        """The message, which is waited for and then gone."""
        message = self.read(key)
        self.store.delete_key(key)
        return message

    def read(self, key: str) -> Any:
        """The message, which is waited for and stays."""
        # A store's own wait ends with a time limit and prints that it did, and sees no signal meanwhile.
        pause = _PAUSES[0]
        while not self.has(key):
            time.sleep(pause)
            pause = min(_PAUSES[1], 1.2 * pause)
        return pickle.loads(self.store.get(key))
