"""The calls of DCP's API that a scenario asks for, with its storage, planner and options."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import wraps
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.staging import AsyncStager, DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import load_state_dict
from torch.distributed.checkpoint.state_dict_saver import AsyncSaveResponse, save_state_dict

from .inject import Injection
from .operations import Operation, Stager
from .scenario import Scenario
from .state import StateDict

__all__ = ["hold_upload", "load", "make_save_planner", "make_writer", "save"]


def save(scenario: Scenario, state: StateDict, injection: Injection, path: str, group: Any) -> Metadata:
    """Save ``state`` as the scenario says; an asynchronous save is waited for, after the state has been overwritten."""
    writer = make_writer(scenario, path)
    planner = make_save_planner(scenario)
    injection.place("writer", writer)
    injection.place("planner", planner)
    operation = scenario.save
    if operation.api == "legacy":
        options = _legacy(operation, group)
        return save_state_dict(state.entries, writer, planner=planner, **options)
    options = {
        "checkpoint_id": path,
        "storage_writer": writer,
        "planner": planner,
        "process_group": group,
        "no_dist": operation.no_dist,
    }
    if operation.api == "async":
        return _save_asynchronously(state, writer, operation.stager, options)
    metadata: Metadata = dcp.save(state.entries, use_collectives=operation.coordinated, **options)
    return metadata


def _save_asynchronously(
    state: StateDict, writer: dcp.FileSystemWriter, kind: Stager, options: dict[str, Any]
) -> Metadata:
    stager = _stager(kind)
    overwritten = threading.Event()
    hold_upload(writer, overwritten)
    try:
        response = dcp.async_save(state.entries, async_stager=stager, **options)
        if isinstance(response, AsyncSaveResponse):
            response.staging_completion.result()
        upload: Future[Any] = response.upload_completion if isinstance(response, AsyncSaveResponse) else response
        # Once the call has returned, or its staging is done, the caller may go on with the training.
        state.overwrite()
        overwritten.set()
        metadata: Metadata = upload.result()
        return metadata
    finally:
        overwritten.set()
        if stager is not None:
            stager.close()


def hold_upload(writer: dcp.FileSystemWriter, until: threading.Event) -> None:
    """Let the upload begin no sooner than ``until``.

    How far it gets before the caller goes on is a race in DCP, where nothing depends on who wins it. What was not
    copied shows only where the caller wins, so that it always does, in every world.
    """
    reset = writer.reset

    @wraps(reset)
    def held(*args: Any, **kwargs: Any) -> None:
        until.wait()
        reset(*args, **kwargs)

    vars(writer)["reset"] = held


def _stager(kind: Stager) -> AsyncStager | None:
    """``None`` for the one that DCP takes by itself, which is the file system's writer."""
    if kind == "writer":
        return None
    return DefaultStager(
        StagingOptions(
            use_pinned_memory=False,
            use_shared_memory=kind == "shared",
            use_async_staging=kind == "background",
            use_non_blocking_copy=False,
        )
    )


def load(scenario: Scenario, state: StateDict, injection: Injection, path: str, group: Any) -> None:
    """Load into ``state`` as the scenario says."""
    reader = dcp.FileSystemReader(path)
    planner = dcp.DefaultLoadPlanner(
        flatten_state_dict=scenario.planner.flatten_state_dict,
        flatten_sharded_tensors=scenario.planner.flatten_sharded_tensors,
        allow_partial_load=scenario.planner.allow_partial_load,
    )
    injection.place("reader", reader)
    injection.place("planner", planner)
    operation = scenario.load
    if operation.api == "legacy":
        load_state_dict(state.entries, reader, planner=planner, **_legacy(operation, group))
    else:
        dcp.load(
            state.entries,
            checkpoint_id=path,
            storage_reader=reader,
            planner=planner,
            process_group=group,
            no_dist=operation.no_dist,
        )


def make_writer(scenario: Scenario, path: str) -> dcp.FileSystemWriter:
    """A new writer to the directory ``path``, with the scenario's options."""
    options = scenario.writer
    return dcp.FileSystemWriter(
        path,
        single_file_per_rank=options.single_file_per_rank,
        sync_files=options.sync_files,
        thread_count=options.thread_count,
        per_thread_copy_ahead=options.per_thread_copy_ahead,
        cache_staged_state_dict=options.cache_staged_state_dict,
        overwrite=options.overwrite,
    )


def make_save_planner(scenario: Scenario) -> dcp.DefaultSavePlanner:
    """A new planner of the save, with the scenario's options."""
    options = scenario.planner
    return dcp.DefaultSavePlanner(
        flatten_state_dict=options.flatten_state_dict,
        flatten_sharded_tensors=options.flatten_sharded_tensors,
        dedup_save_to_lowest_rank=options.dedup_save_to_lowest_rank,
        enable_plan_caching=options.enable_plan_caching,
    )


def _legacy(operation: Operation, group: Any) -> dict[str, Any]:
    return {
        "coordinator_rank": operation.coordinator,
        "no_dist": operation.no_dist or not operation.distributed,
        "process_group": group,
    }
