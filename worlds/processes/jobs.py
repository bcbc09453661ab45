"""The jobs of a rank process: join a group, save or load, or run any function."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import thread as executor_threads
from datetime import timedelta
from typing import Any, Literal

import torch.distributed as dist

from ..hygiene import forget_examples
from ..inject import Hits
from ..outcome import RankOutcome
from ..program import Call, run_rank
from ..scenario import Scenario
from ..state import StateDict
from .rank import rank_reports
from .sub_groups import sub_group_of

__all__ = ["call", "join", "operate"]


def join(store: str, rank: int, world_size: int, timeout: float) -> None:
    """Make the default group, over gloo, by way of the file ``store``; ``timeout`` is a collective's, in seconds."""
    file = dist.FileStore(store, world_size)
    limit = timedelta(seconds=timeout)
    dist.init_process_group("gloo", store=file, rank=rank, world_size=world_size, timeout=limit)


def operate(
    scenario: Scenario,
    name: Literal["save", "load"],
    rank: int,
    path: str,
    *,
    fresh: bool,
    prepare: Callable[[StateDict], None] | None = None,
    call: Call | None = None,
) -> RankOutcome | None:
    """Save or load as that rank; the threads that DCP started for it have ended when this returns.

    Where it is ``fresh``, an example begins: nothing of DCP is as an earlier one left it.
    """
    if fresh:
        forget_examples()
    before = set(threading.enumerate())
    outcome = run_rank(
        scenario, name, rank, path, Hits(rank_reports), prepare=prepare, group_of=sub_group_of, call=call
    )
    _join_threads(before)
    return outcome


def call(body: Callable[[int], Any], rank: int, *, fresh: bool = False) -> Any:
    """What ``body(rank)`` returns; where it is ``fresh``, as :func:`operate` begins."""
    if fresh:
        forget_examples()
    return body(rank)


def _join_threads(before: set[threading.Thread]) -> None:
    # An executor's threads wait for more work, for ever and on purpose.
    idle = set(executor_threads._threads_queues)
    for thread in set(threading.enumerate()) - before - idle:
        if not thread.daemon:
            thread.join()
