"""Counts the collectives that a rank calls, so that where it stands can be said as in the simulated world."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import PurePath
from types import FunctionType
from typing import Any

import torch.distributed as dist
from torch.distributed import distributed_c10d as c10d

__all__ = ["count_collectives", "count_of", "forget_counts", "group_of", "is_rendezvous"]

_GROUPS = ("init_process_group", "new_group", "shrink_group", "split_group")
"""What all ranks of a group wait in for each other that is no collective of it."""


def _collectives() -> tuple[str, ...]:
    """What torch logs as such, since it gives them other names from release to release."""
    logged = (name for name in c10d.__all__ if _is_logged(getattr(c10d, name)))
    return tuple(sorted(name for name in logged if name not in _GROUPS))


def _is_logged(function: object) -> bool:
    # By type(), since isinstance() looks into what is deprecated, which warns.
    return type(function) is FunctionType and PurePath(function.__code__.co_filename).name == "c10d_logger.py"


_NAMES = _collectives()
_WAITS = (*_NAMES, *_GROUPS, "wait_tensor", "wait_tensors")

_lock = threading.Lock()
_counts: Counter[str] = Counter()
_current: dict[int, int] = {}  # by thread, the number of its collective within the group


def is_rendezvous(name: str) -> bool:
    """Whether a function of that name in ``torch.distributed`` waits for other ranks."""
    return name in _WAITS


def group_of(group: Any) -> Any:
    """The process group that a call means, where ``None`` stands for the default one; ``None`` if there is none."""
    if group is not None:
        return group if isinstance(group, dist.ProcessGroup) else None
    return dist.group.WORLD


def count_of(thread: int | None) -> int:
    """The number, within its group, of the collective that a thread is in; the first one is 0."""
    return _current.get(thread or 0, 0)


def forget_counts() -> None:
    """The next collective of each group is its first."""
    _counts.clear()


def count_collectives() -> None:
    """Count from now on, in this process; a collective that another one calls does not count."""
    for name in _NAMES:
        for module in (c10d, dist):
            if hasattr(module, name):
                setattr(module, name, _counted(getattr(module, name)))


def _counted(collective: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(collective)
    def counted(*args: Any, **kwargs: Any) -> Any:
        thread = threading.get_ident()
        if thread in _current:
            return collective(*args, **kwargs)
        group = group_of(kwargs.get("group") or next((a for a in args if isinstance(a, dist.ProcessGroup)), None))
        name = getattr(group, "group_name", "")
        with _lock:
            _current[thread] = _counts[name]
            _counts[name] += 1
        try:
            return collective(*args, **kwargs)
        finally:
            del _current[thread]

    return counted
