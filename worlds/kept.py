"""What a rank keeps from one step of a history for the next: writers, readers, planners, stagers, and tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.staging import AsyncStager

from . import calls
from .fail_files import files_of, put_back
from .histories import Again
from .inject import Injection
from .operations import Stager
from .scenario import Scenario
from .state import StateDict
from .storages import find_storage
from .values import tensor_bits

__all__ = ["forget_kept", "load_with_kept", "save_with_kept"]

T = TypeVar("T")


@dataclass(frozen=True)
class _Things:
    """What is kept, by kind and options; and the path that each writer and reader was told last, or made for."""

    made: dict[tuple[str, ...], Any] = field(default_factory=dict)
    paths: dict[tuple[str, ...], str | None] = field(default_factory=dict)


_KEPT: dict[int, _Things] = {}
"""By rank, since simulated ranks share a process."""


def save_with_kept(
    again: tuple[Again, ...],
    begins: bool,
    scenario: Scenario,
    state: StateDict,
    injection: Injection,
    path: str,
    group: Any,
    *,
    meanwhile: Callable[[], None] | None = None,
) -> Metadata:
    """:func:`worlds.calls.save`, with what is used ``again``; nothing is kept so far where a job ``begins``."""
    kept = _Kept(again, begins, tells_path=scenario.save.tells_path)
    kept.hold(state)
    try:
        return calls.save(scenario, state, injection, path, group, tools=kept, meanwhile=meanwhile)
    finally:
        kept.make_bare()


def load_with_kept(
    again: tuple[Again, ...],
    begins: bool,
    scenario: Scenario,
    state: StateDict,
    injection: Injection,
    path: str,
    group: Any,
) -> None:
    """:func:`worlds.calls.load`, as above."""
    kept = _Kept(again, begins, tells_path=scenario.load.tells_path)
    try:
        calls.load(scenario, state, injection, path, group, make_reader=kept.reader, make_planner=kept.load_planner)
    finally:
        kept.make_bare()


def forget_kept() -> None:
    """Let go of what any rank of this process keeps."""
    for things in _KEPT.values():
        for thing in things.made.values():
            if isinstance(thing, AsyncStager):
                thing.close()
    _KEPT.clear()


class _Kept:
    """What one rank uses in one step, which is kept for the next.

    A call that tells a writer, or a reader, no path uses one again that is at its path already: since it was made for
    it, or since the last call that used it has told it so. Where that has failed before, it is at no path for certain.
    """

    def __init__(self, again: tuple[Again, ...], begins: bool, *, tells_path: bool) -> None:
        rank = dist.get_rank() if dist.is_initialized() else 0
        if begins:
            _KEPT.pop(rank, None)
        self._things = _KEPT.setdefault(rank, _Things())
        self._again = again
        self._tells_path = tells_path
        self._used: list[object] = []

    def writer(self, scenario: Scenario, path: str) -> dcp.StorageWriter:
        return self._get("writer", lambda: calls.make_writer(scenario, path), repr(scenario.writer), path=path)

    def reader(self, scenario: Scenario, path: str) -> dcp.StorageReader:
        storage = find_storage(scenario.storage)
        return self._get("reader", lambda: storage.make_reader(storage.checkpoint_id(path)), path=path)

    def save_planner(self, scenario: Scenario) -> dcp.SavePlanner:
        options = replace(scenario.planner, allow_partial_load=False)
        return self._get("planner", lambda: calls.make_save_planner(scenario), "save", repr(options))

    def load_planner(self, scenario: Scenario) -> dcp.LoadPlanner:
        return self._get("planner", lambda: calls.make_load_planner(scenario), "load", repr(scenario.planner))

    def stager(self, kind: Stager) -> AsyncStager | None:
        if kind not in ("default", "shared"):
            return None
        return self._get("stager", lambda: calls.make_stager(kind), kind)

    def hold(self, state: StateDict) -> None:
        """Let plain tensors of the last save hold the values of those of this one, and take their place."""
        before: dict[Any, Any] = self._things.made.get(("tensors",), {})
        if "tensors" in self._again:
            for key, new in state.entries.items():
                old = before.get(key)
                if type(new) is type(old) is torch.Tensor and (new.shape, new.dtype) == (old.shape, old.dtype):
                    tensor_bits(old).copy_(tensor_bits(new))
                    state.entries[key] = old
        self._things.made["tensors",] = dict(state.entries)

    def make_bare(self) -> None:
        """Take what was put in front of methods, faults among it, from what was used, and from its file system."""
        for used in self._used:
            for name in [name for name in vars(used) if callable(getattr(type(used), name, None))]:
                del vars(used)[name]
            files = getattr(used, "fs", None)
            if files_of(files) is not None:
                put_back(files)

    def _get(self, kind: Again, make: Callable[[], T], *options: str, path: str | None = None) -> T:
        key, things = (kind, *options), self._things
        goes_there = path is None or self._tells_path or things.paths.get(key) == path
        if kind not in self._again or key not in things.made or not goes_there:
            things.made[key] = make()
            things.paths[key] = path
        thing: T = things.made[key]
        if things.paths[key] != path:
            things.paths[key] = None
            self._notice(thing, key, path)
        self._used.append(thing)
        return thing

    def _notice(self, thing: Any, key: tuple[str, ...], path: str | None) -> None:
        """Take the thing to be at that path once it was told so."""
        reset = thing.reset

        @wraps(reset)
        def told(*args: Any, **kwargs: Any) -> None:
            reset(*args, **kwargs)
            if self._things.made[key] is thing:  # and not what a step that has overtaken this one has made
                self._things.paths[key] = path

        vars(thing)["reset"] = told
