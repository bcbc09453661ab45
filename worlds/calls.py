"""The calls of DCP's API that a scenario asks for, with its storage, planner and options."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import wraps
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.staging import AsyncStager, DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import load_state_dict
from torch.distributed.checkpoint.state_dict_saver import AsyncSaveResponse, save_state_dict
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter

from .inject import Injection
from .operations import Operation, PlannerOptions, Stager
from .planners import DEFAULT, find_planners
from .scenario import Scenario
from .state import StateDict
from .storages import Storage, find_storage

__all__ = [
    "Tools",
    "Upload",
    "hold_upload",
    "load",
    "make_load_planner",
    "make_save_planner",
    "make_stager",
    "make_writer",
    "save",
    "save_options",
    "upload",
    "wait_for_staging",
]


def save(
    scenario: Scenario,
    state: StateDict,
    injection: Injection,
    path: str,
    group: Any,
    *,
    tools: Tools | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Metadata:
    """Save ``state`` as the scenario says; an asynchronous save is waited for, after the state has been overwritten.

    With other ``tools`` than new ones, if given. Before the upload of an asynchronous save begins, ``meanwhile`` is
    called, if given.
    """
    operation = scenario.save
    planner = make_save_planner(scenario) if tools is None else tools.save_planner(scenario)
    injection.place("planner", planner)
    if operation.by_path:
        return _save_by_path(scenario, state, planner, path, group, meanwhile)
    writer = make_writer(scenario, path, injection.storage()) if tools is None else tools.writer(scenario, path)
    injection.place("writer", writer)
    if operation.api == "legacy":
        options = _legacy(operation, group)
        return _as_metadata(save_state_dict(state.entries, writer, planner=planner, **options))
    options = save_options(scenario, path, writer, planner, group)
    if operation.uploads:
        stager = None if tools is None else tools.stager(operation.stager)
        with Upload(state, writer, operation.stager, options, lent=stager) as begun:
            if meanwhile is not None:
                meanwhile()
            begun.let_go()
            return _as_metadata(begun.result())
    return _as_metadata(dcp.save(state.entries, **options))


def _save_by_path(
    scenario: Scenario,
    state: StateDict,
    planner: dcp.SavePlanner,
    path: str,
    group: Any,
    meanwhile: Callable[[], None] | None,
) -> Metadata:
    """Save without a writer, and without the planner where nothing is to be said to it."""
    operation = scenario.save
    options = save_options(scenario, path, None, planner, group)
    if operation.uploads:
        with Upload(state, planner, None, options) as begun:
            if meanwhile is not None:
                meanwhile()
            begun.let_go()
            return _as_metadata(begun.result())
    if _is_mute(scenario, "save"):
        del options["planner"]
    return _as_metadata(dcp.save(state.entries, **options))


def _is_mute(scenario: Scenario, name: Literal["save", "load"]) -> bool:
    """Whether the planner is the one that DCP takes by itself."""
    fails = any(fault.operation == name and fault.hook.startswith("planner.") for fault in scenario.faults)
    return scenario.planners == DEFAULT and scenario.planner == PlannerOptions() and not fails


def _as_metadata(returned: object) -> Metadata:
    """What a save returned; if that are no metadata, those of nothing, which none is that has saved something."""
    return returned if isinstance(returned, Metadata) else Metadata({})


def upload(scenario: Scenario, state: StateDict, path: str, group: Any) -> Upload:
    """Call ``async_save`` as the scenario says, without faults."""
    writer = make_writer(scenario, path)
    options = save_options(scenario, path, writer, make_save_planner(scenario), group)
    return Upload(state, writer, scenario.save.stager, options)


def _id(scenario: Scenario, name: Literal["save", "load"], path: str) -> dict[str, str]:
    """The ``checkpoint_id``, where the call has one."""
    operation, storage = scenario.operation(name), find_storage(scenario.storage)
    if not operation.tells_path:
        return {}
    return {"checkpoint_id": _name(storage.url(path) if operation.by_path else storage.checkpoint_id(path), operation)}


def save_options(
    scenario: Scenario, path: str, writer: StorageWriter | None, planner: dcp.SavePlanner, group: Any
) -> dict[str, Any]:
    """What ``save`` and ``async_save`` are both given beside the state."""
    return {
        **_id(scenario, "save", path),
        "storage_writer": writer,
        "planner": planner,
        "process_group": group,
        "no_dist": scenario.save.no_dist,
        "use_collectives": scenario.save.coordinated,
    }


class Tools(Protocol):
    """What a save is done with, where it is not new each time."""

    def writer(self, scenario: Scenario, path: str) -> StorageWriter:
        """The writer."""

    def save_planner(self, scenario: Scenario) -> dcp.SavePlanner:
        """The planner."""

    def stager(self, kind: Stager) -> AsyncStager | None:
        """The stager, which its owner closes; ``None`` for a new one."""


class Upload:
    """An asynchronous save that has been called; a context manager, in whose end nothing of it is held any more.

    ``options`` are those of ``async_save``, and ``held`` is the writer or the planner among them that begins when the
    caller has gone on. The save is of the state as it was at the call, or at the end of its staging: after that, it is
    overwritten. The stager is of that ``kind``, DCP's own for ``None``; one that is ``lent`` is not closed here.
    """

    def __init__(
        self,
        state: StateDict,
        held: StorageWriter | dcp.SavePlanner,
        kind: Stager | None,
        options: dict[str, Any],
        *,
        lent: AsyncStager | None = None,
    ) -> None:
        self._stager = lent if lent is not None or kind is None else make_stager(kind)
        self._lent = lent is not None
        self._gone_on = threading.Event()
        hold_upload(held, self._gone_on, told="checkpoint_id" in options)
        try:
            response = dcp.async_save(state.entries, async_stager=self._stager, **options)
            if isinstance(response, AsyncSaveResponse):
                wait_for_staging(response, self._stager, kind)
            self._upload: Future[Any] = (
                response.upload_completion if isinstance(response, AsyncSaveResponse) else response
            )
            # Once the call has returned, or its staging is done, the caller may go on with the training.
            state.overwrite()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        if self._stager is not None and not self._lent:
            self._stager.close()

    def let_go(self) -> None:
        """Let the upload begin: the caller has gone on."""
        self._gone_on.set()

    def result(self) -> Metadata:
        """What comes of it, which is waited for."""
        metadata: Metadata = self._upload.result()
        return metadata


def wait_for_staging(response: AsyncSaveResponse, stager: AsyncStager | None, kind: Stager | None) -> None:
    """Wait until the state dict is copied, as a caller does who has such a stager."""
    if stager is not None and kind == "synchronized background":
        stager.synchronize_staging()
    else:
        response.staging_completion.result()


def hold_upload(held: StorageWriter | dcp.SavePlanner, until: threading.Event, *, told: bool = True) -> None:
    """Let the upload begin no sooner than ``until``: with the writer, or with the planner where there is none.

    A writer is first ``told`` the path, or else asked for its part of the metadata.
    How far it gets before the caller goes on is a race in DCP, where nothing depends on who wins it. What was not
    copied shows only where the caller wins, so that it always does, in every world.
    """
    of_writer = "reset" if told else "storage_meta"
    name = of_writer if isinstance(held, StorageWriter) else "set_up_planner"
    begin = getattr(held, name)

    @wraps(begin)
    def wait(*args: Any, **kwargs: Any) -> Any:
        until.wait()
        return begin(*args, **kwargs)

    vars(held)[name] = wait


def make_stager(kind: Stager) -> AsyncStager | None:
    """``None`` for the one that DCP takes by itself, which is the file system's writer."""
    if kind == "writer":
        return None
    return DefaultStager(
        StagingOptions(
            use_pinned_memory="pinned" in kind,
            use_shared_memory="shared" in kind,
            use_async_staging="background" in kind,
            use_non_blocking_copy="pinned" in kind,
        )
    )


def load(
    scenario: Scenario,
    state: StateDict,
    injection: Injection,
    path: str,
    group: Any,
    *,
    make_reader: Callable[[Scenario, str], StorageReader] | None = None,
    make_planner: Callable[[Scenario], dcp.LoadPlanner] | None = None,
) -> None:
    """Load into ``state`` as the scenario says, with another reader or planner than the default ones if given."""
    operation = scenario.load
    planner = (make_planner or make_load_planner)(scenario)
    injection.place("planner", planner)
    named = _id(scenario, "load", path)
    if operation.by_path:
        options = {} if _is_mute(scenario, "load") else {"planner": planner}
        dcp.load(state.entries, process_group=group, no_dist=operation.no_dist, **named, **options)
        return
    storage = injection.storage()
    made = _name(storage.checkpoint_id(path), operation)
    reader = make_reader(scenario, path) if make_reader else storage.make_reader(made)
    injection.place("reader", reader)
    if operation.api == "legacy":
        load_state_dict(state.entries, reader, planner=planner, **_legacy(operation, group))
    else:
        dcp.load(
            state.entries,
            storage_reader=reader,
            planner=planner,
            process_group=group,
            no_dist=operation.no_dist,
            **named,
        )


def make_writer(scenario: Scenario, path: str, storage: Storage | None = None) -> StorageWriter:
    """A new writer of the scenario's storage, or of that one in its place, with its options."""
    storage = storage or find_storage(scenario.storage)
    return storage.make_writer(_name(storage.checkpoint_id(path), scenario.save), scenario.writer)


def _name(checkpoint_id: str, operation: Operation) -> str:
    """What the operation calls the checkpoint; a ``Path`` passes for a ``str``, as DCP's own files take both."""
    found: str | os.PathLike[str] = checkpoint_id
    return cast(str, Path(found) if operation.pathlike else found)


def make_load_planner(scenario: Scenario) -> dcp.LoadPlanner:
    """A new planner of the load, with the scenario's options."""
    return find_planners(scenario.planners).make_load_planner(scenario.planner)


def make_save_planner(scenario: Scenario) -> dcp.SavePlanner:
    """A new planner of the save, with the scenario's options."""
    return find_planners(scenario.planners).make_save_planner(scenario.planner)


def _legacy(operation: Operation, group: Any) -> dict[str, Any]:
    return {
        "coordinator_rank": operation.coordinator,
        "no_dist": operation.no_dist or not operation.distributed,
        "process_group": group,
    }
