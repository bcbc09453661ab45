"""What an example must find as if it were the first of its process, and must leave as it found it."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed import c10d_logger
from torch.distributed.checkpoint import _version
from torch.distributed.checkpoint.planner import SavePlanner

from .patches import Patch, applied
from .scheduler import current_task

__all__ = ["as_if_first", "quiet"]


@contextmanager
def as_if_first() -> Iterator[None]:
    """Class- and module-level state of DCP is empty at the start of the block and put back at its end.

    What a process has one of, each simulated rank has one of.
    """
    caches = {name: value for name, value in vars(SavePlanner).items() if name.startswith("_cached_")}
    derived = _version._derived_version
    hook = sys.excepthook
    for name in caches:
        setattr(SavePlanner, name, _OfEachRank())
    _version._derived_version = None
    try:
        yield
    finally:
        for name, value in caches.items():
            setattr(SavePlanner, name, value)
        _version._derived_version = derived
        sys.excepthook = hook  # init_process_group() wraps it anew each time


class _OfEachRank(MutableMapping[Any, Any]):
    """A dict for each simulated rank, and one for whoever is none."""

    def __init__(self) -> None:
        self._dicts: dict[int | None, dict[Any, Any]] = {}

    def _mine(self) -> dict[Any, Any]:
        task = current_task()
        return self._dicts.setdefault(None if task is None else task.rank, {})

    def __getitem__(self, key: Any) -> Any:
        return self._mine()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._mine()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._mine()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mine())

    def __len__(self) -> int:
        return len(self._mine())


@contextmanager
def quiet() -> Iterator[None]:
    """No log record, warning or end of a thread is printed; tensors are too small here for more than one thread."""
    disabled = logging.root.manager.disable
    threads = torch.get_num_threads()
    thread_hook = threading.excepthook
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    threading.excepthook = _say_nothing
    try:
        with warnings.catch_warnings(), applied([Patch(c10d_logger, "_get_msg_dict", _bare_message)]):
            warnings.simplefilter("ignore")
            yield
    finally:
        threading.excepthook = thread_hook
        torch.set_num_threads(threads)
        logging.disable(disabled)


def _bare_message(func_name: str, *_: object, **__: object) -> dict[str, str]:
    """c10d's part of a log record that nobody reads, as short as where no process group is; DCP's own part stays."""
    return {"func_name": func_name}


def _say_nothing(_: object) -> None:
    """A thread that fails is DCP's to report; whether it does is what is tested."""
