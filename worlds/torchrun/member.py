"""What every rank of the job does: run what rank 0 sends, in a thread, while the main thread says where it stands."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import threading
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from ..hygiene import quiet
from ..processes.activity import activity
from ..processes.collectives import count_collectives, forget_counts
from ..processes.look import look_around
from ..processes.messages import Done, Seen
from ..processes.rank import broken, group_state, report_to
from .job import Answer, Channel, Look, Place, Run, Stop, job_rank

__all__ = ["Member", "serve"]


class Member:
    """One rank of the job. ``timeout`` is that of a process group's collectives, in seconds."""

    def __init__(self, channel: Channel, *, timeout: float) -> None:
        self.rank = job_rank()
        self._channel = channel
        self._timeout = timedelta(seconds=timeout)
        self._group: str | None = None
        self._reached: list[Any] = []
        self._thread: threading.Thread | None = None
        self._left: list[threading.Thread] = []
        count_collectives()
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))

    def start(self, run: Run) -> None:
        """Begin with a run, if it is for this rank; its answer goes to the store.

        A rank that hung in an earlier one is left in its thread, until its group's timeout, and heard no more.
        """
        if self.rank >= len(run.jobs):
            return
        reached: list[Any] = []
        self._reached = reached
        report_to(reached.append)
        if self._thread is not None and self._thread.is_alive():
            self._left.append(self._thread)
        self._thread = threading.Thread(target=self._work, args=(run, reached), name=f"rank {self.rank}", daemon=True)
        self._thread.start()

    def place(self) -> Place:
        """Where the threads stand, but for the one that asks and those that were left."""
        number = threading.get_native_id()
        left = {thread.native_id or 0 for thread in self._left if thread.is_alive()}
        threads = tuple(one for one in look_around(threading.get_ident()) if one.native_id not in left)
        counted = {thread.native_id for thread in threads}
        return Place(Seen(threads, number), activity([os.getpid()], counted, {number, *left}), tuple(self._reached))

    def leave(self) -> None:
        """Give up the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()
        self._group = None

    def _work(self, run: Run, reached: list[Any]) -> None:
        channel = self._channel.clone()
        try:
            self._join(run.group, len(run.jobs), channel)
            forget_counts()
            value = pickle.loads(run.jobs[self.rank])()
            result: Any = Done(value, *group_state())
            pickle.dumps(result)
        except BaseException as error:  # whatever it is, the rank goes on and rank 0 decides
            result = broken(error)
        with contextlib.suppress(dist.DistError):  # the job is over
            channel.send(f"answer/{run.number}/{self.rank}", Answer(result, tuple(reached)))

    def _join(self, group: str | None, world_size: int, channel: Channel) -> None:
        if group == self._group:
            return
        self.leave()
        if group is None:
            return
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store = dist.PrefixStore(group, channel.store)
        hook = sys.excepthook
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=world_size, timeout=self._timeout)
        sys.excepthook = hook  # which that wraps anew each time
        self._group = group


def serve(*, timeout: float) -> int:
    """Be a rank other than 0 until rank 0 has done, and return the exit status."""
    channel = Channel.of_job()
    member = Member(channel.clone(), timeout=timeout)
    number = 0
    with quiet(), contextlib.suppress(KeyboardInterrupt):
        while True:
            try:
                command = channel.read(f"command/{number}")
            except dist.DistError:  # the store is gone, and with it the job
                return 1
            number += 1
            match command:
                case Stop():
                    break
                case Run():
                    member.start(command)
                case Look(number=look, ranks=ranks) if member.rank in ranks:
                    channel.send(f"place/{look}/{member.rank}", member.place())
    # A rank that hangs would keep the process from ending as usual.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
