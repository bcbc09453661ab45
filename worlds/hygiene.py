"""What an example must find as if it were the first of its process, and must leave as it found it."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import c10d_logger
from torch.distributed.checkpoint import _version
from torch.distributed.checkpoint.planner import SavePlanner

from .abandoned import Abandoned
from .patches import Patch, applied

__all__ = ["as_if_first", "forget_examples", "quiet"]


def forget_examples(make_cache: Callable[[], MutableMapping[Any, Any]] = dict) -> None:
    """Empty the class- and module-level state of DCP, as in a process that has saved and loaded nothing yet.

    Each cache is in a mapping as ``make_cache`` makes it.
    """
    for name in _caches():
        setattr(SavePlanner, name, make_cache())
    _version._derived_version = None


def _caches() -> dict[str, object]:
    return {name: value for name, value in vars(SavePlanner).items() if name.startswith("_cached_")}


@contextmanager
def as_if_first(make_cache: Callable[[], MutableMapping[Any, Any]] = dict) -> Iterator[None]:
    """Class- and module-level state of DCP is empty at the start of the block and put back at its end.

    Each cache is in a mapping as ``make_cache`` makes it.
    """
    caches = _caches()
    derived = _version._derived_version
    hook = sys.excepthook
    forget_examples(make_cache)
    try:
        yield
    finally:
        for name, value in caches.items():
            setattr(SavePlanner, name, value)
        _version._derived_version = derived
        sys.excepthook = hook  # init_process_group() wraps it anew each time


@contextmanager
def quiet() -> Iterator[None]:
    """No log record, warning or end of a thread is printed; tensors are too small here for more than one thread."""
    disabled = logging.root.manager.disable
    threads = torch.get_num_threads()
    thread_hook, unraisable_hook = threading.excepthook, sys.unraisablehook

    def say_but_abandoned(args: Any) -> None:
        """Where a callback of the collector waits in a rank that is given up, that is nobody's failure."""
        if not isinstance(args.exc_value, Abandoned):
            unraisable_hook(args)

    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    threading.excepthook = _say_nothing
    sys.unraisablehook = say_but_abandoned
    try:
        with warnings.catch_warnings(), applied([Patch(c10d_logger, "_get_msg_dict", _bare_message)]):
            warnings.simplefilter("ignore")
            yield
    finally:
        threading.excepthook, sys.unraisablehook = thread_hook, unraisable_hook
        torch.set_num_threads(threads)
        logging.disable(disabled)


_message = c10d_logger._get_msg_dict


def _bare_message(func_name: str, *args: object, **kwargs: Any) -> dict[str, Any]:
    """c10d's part of a log record that nobody reads, as short as where no process group is; DCP's own part stays.

    But what is no group is asked for its backend, which is how DCP comes to refuse it.
    """
    group = kwargs.get("group") or kwargs.get("process_group")
    if group is not None and not isinstance(group, dist.ProcessGroup):
        return _message(func_name, *args, **kwargs)
    return {"func_name": func_name}


def _say_nothing(_: object) -> None:
    """A thread that fails is DCP's to report; whether it does is what is tested."""
