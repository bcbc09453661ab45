"""The file system storage, with a record of each call that DCP makes of its hooks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Literal, TypeVar

import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from worlds.backends import FileSystem
from worlds.contract import CLAUSES
from worlds.operations import WriterOptions

__all__ = ["RECORDED", "Call", "Recording", "Side"]

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A call that returned, with what it was given and returned; ``name`` is as in the contract."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


@dataclass
class Side:
    """A writer or a reader: the rank in the world that it is of, and what DCP has called of it."""

    operation: Literal["save", "load"]
    rank: int
    calls: list[Call] = field(default_factory=list)
    inside: bool = False

    def one(self, name: str) -> Call | None:
        """The one call of that hook, if there was one."""
        found = [call for call in self.calls if call.name == name]
        return found[-1] if found else None


RECORDED: list[Side] = []
"""All that were made, until somebody empties it."""


class Recording(FileSystem):
    """Supports all that the file system does."""

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> dcp.StorageWriter:
        return _recorded(super().make_writer(checkpoint_id, options), "save")

    def make_reader(self, checkpoint_id: str) -> dcp.StorageReader:
        return _recorded(super().make_reader(checkpoint_id), "load")


def _recorded(target: T, operation: Literal["save", "load"]) -> T:
    """The same object, which is recorded from now on, unless it is not a rank that asks for it but the tester."""
    if threading.current_thread() is threading.main_thread():
        return target
    _record(target, operation)
    return target


def _record(target: Any, operation: Literal["save", "load"]) -> None:
    side = Side(operation, dist.get_rank() if dist.is_initialized() else 0)
    RECORDED.append(side)
    target.prepare_local_plan = _marking(target.prepare_local_plan, side.rank)
    target.prepare_global_plan = _numbering(target.prepare_global_plan)
    for clause in CLAUSES:
        if clause.operation == operation:
            method = clause.name.partition(".")[2]
            setattr(target, method, _recording(getattr(target, method), clause.name, side))


def _marking(method: Callable[[Any], Any], rank: int) -> Callable[[Any], Any]:
    """Let the plan that a rank prepares say whose it is."""

    @wraps(method)
    def marking(plan: Any) -> Any:
        return replace(method(plan), storage_data=f"prepared by {rank}")

    return marking


def _numbering(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let the plans for all ranks say for which each is; a writer of files has names of its own there."""

    @wraps(method)
    def numbering(plans: Any) -> Any:
        planned = method([replace(plan, storage_data=None) for plan in plans])
        return [replace(plan, storage_data=plan.storage_data or f"for {rank}") for rank, plan in enumerate(planned)]

    return numbering


def _recording(method: Callable[..., Any], name: str, side: Side) -> Callable[..., Any]:
    @wraps(method)  # with its signature, which DCP looks at
    def recording(*args: Any, **kwargs: Any) -> Any:
        if side.inside:  # the storage calls it itself
            return method(*args, **kwargs)
        side.inside = True
        try:
            result = method(*args, **kwargs)
        finally:
            side.inside = False
        side.calls.append(Call(name, args, kwargs, result))
        return result

    return recording
