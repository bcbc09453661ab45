"""What a rank process does: one job after the other, while a thread of it answers where the others stand.

It ends when its connection does, and when its parent does: whoever drives it may be killed at any time.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import torch.distributed as dist
from torch.distributed import distributed_c10d as c10d

from ..hygiene import quiet
from .collectives import count_collectives, forget_counts
from .look import look_around
from .messages import LOOK, Broken, Done, Reached, Seen
from .sub_groups import count_sub_groups

__all__ = ["broken", "group_state", "rank_reports", "report_to", "serve"]

_PARENT_LOOKS = 1.0  # seconds between two looks whether the parent is still there, where the system does not tell

_report: Callable[[Any], None] | None = None


def report_to(report: Callable[[Any], None]) -> None:
    """From now on this process is a rank, and ``report`` is told what it reaches."""
    global _report
    _report = report


def rank_reports(what: Any) -> None:
    """Tell the driver at once of something that was reached, in case that the rank never ends; only in a rank."""
    assert _report is not None, "this is no rank process"
    _report(what)


def serve(descriptor: int, parent: int) -> NoReturn:
    """Be a rank that is driven over the socket ``descriptor``, until that closes or the process ``parent`` is gone."""
    _die_with(parent)
    connection = Connection(descriptor)
    sending = threading.Lock()

    def send(message: Any) -> None:
        data = pickle.dumps(message)
        with sending:
            connection.send_bytes(data)

    report_to(lambda what: send(Reached(what)))
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_watch, args=(connection, send, jobs, parent), name="watcher", daemon=True).start()
    count_collectives()
    with quiet():
        while True:
            send(_run(jobs.get()))


def _run(job: bytes) -> Done | Broken:
    forget_counts()
    try:
        value = pickle.loads(job)()
        done = Done(value, *group_state())
        pickle.dumps(done)
    except BaseException as error:  # whatever it is, the rank goes on and the driver decides
        return broken(error)
    return done


def group_state() -> tuple[int, int]:
    """How many process groups there are beside known sub-groups, and how many collectives of the default one were."""
    group: Any = dist.group.WORLD
    if group is None:
        return 0, 0
    return len(c10d._world.pg_map) - count_sub_groups(), group._get_sequence_number_for_group()


def broken(error: BaseException) -> Broken:
    """What a job raised, as a message."""
    text = "".join(traceback.format_exception(error))
    try:
        data: bytes | None = pickle.dumps(error)
        pickle.loads(data or b"")
    except Exception:
        data = None
    return Broken(data, text)


def _watch(connection: Connection, send: Callable[[Any], None], jobs: queue.SimpleQueue[bytes], parent: int) -> None:
    me, number = threading.get_ident(), threading.get_native_id()
    try:
        while os.getppid() == parent:
            if not connection.poll(_PARENT_LOOKS):
                continue
            data = connection.recv_bytes()
            if data == LOOK:
                send(Seen(look_around(me), number))
            else:
                jobs.put(data)
    except (EOFError, OSError):
        pass
    except BaseException:
        traceback.print_exc()
    os._exit(0)


def _die_with(parent: int) -> None:
    """Have the system kill this process when its parent ends, where it can; the watcher looks as well."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        os._exit(0)
