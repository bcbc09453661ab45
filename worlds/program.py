"""What one rank does in one operation: the same in every world, with nothing of the world in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import _create_default_local_metadata
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.state_dict_loader import load_state_dict
from torch.distributed.checkpoint.state_dict_saver import save_state_dict

from .abandoned import Abandoned
from .inject import Injection
from .metadata import record_metadata
from .outcome import ErrorRecord, FileRecord, Hit, MetadataRecord, Raised, RankOutcome, Returned
from .record import error_origin, record_error
from .scenario import Operation, Scenario
from .state import StateDict

__all__ = ["default_metadata", "list_files", "raised", "read_metadata", "run_rank"]


def run_rank(
    scenario: Scenario,
    operation: Literal["save", "load"],
    rank: int,
    path: str,
    hits: list[Hit],
    prepare: Callable[[StateDict], None] | None = None,
) -> RankOutcome:
    """Save to, or load from, the directory ``path`` as that rank, in whatever ``torch.distributed`` is set up.

    The faults that are reached go to ``hits``; ``prepare`` may change the state dict first. Whatever DCP raises comes
    back as data; what the scenario itself raises, before DCP is called, is an error of the tester and is raised.
    """
    state = StateDict(scenario, operation)
    if prepare is not None:
        prepare(state)
    injection = Injection(scenario, operation, rank, hits)
    call = _save if operation == "save" else _load
    try:
        metadata = call(scenario, state, injection, path)
    except Abandoned:
        raise
    except BaseException as error:
        return raised(error, path)
    finally:
        injection.forget()
    return Returned(state.observe(), None if metadata is None else record_metadata(metadata))


def default_metadata(scenario: Scenario, rank: int = 0) -> MetadataRecord:
    """The metadata that DCP makes of one rank's state dict alone, without a storage and without asking other ranks.

    ``rank`` changes nothing: the state dict is that of the rank that calls.
    """
    del rank
    return record_metadata(_create_default_local_metadata(StateDict(scenario, "save").entries))


def _save(scenario: Scenario, state: StateDict, injection: Injection, path: str) -> Metadata:
    options = scenario.writer
    writer = dcp.FileSystemWriter(
        path,
        single_file_per_rank=options.single_file_per_rank,
        sync_files=options.sync_files,
        thread_count=options.thread_count,
    )
    planner = dcp.DefaultSavePlanner()
    injection.place("writer", writer)
    injection.place("planner", planner)
    operation = scenario.save
    if operation.api == "current":
        metadata: Metadata = dcp.save(state.entries, checkpoint_id=path, storage_writer=writer, planner=planner)
        return metadata
    return save_state_dict(state.entries, writer, planner=planner, **_legacy(operation))


def _load(scenario: Scenario, state: StateDict, injection: Injection, path: str) -> None:
    reader = dcp.FileSystemReader(path)
    planner = dcp.DefaultLoadPlanner()
    injection.place("reader", reader)
    injection.place("planner", planner)
    operation = scenario.load
    if operation.api == "current":
        dcp.load(state.entries, checkpoint_id=path, storage_reader=reader, planner=planner)
    else:
        load_state_dict(state.entries, reader, planner=planner, **_legacy(operation))


def _legacy(operation: Operation) -> dict[str, Any]:
    return {"coordinator_rank": operation.coordinator, "no_dist": not operation.distributed}


def raised(error: BaseException, path: str) -> Raised:
    """What a call raised, as data, with the checkpoint's own path left out."""
    record = record_error(error, path=path)
    if not isinstance(error, CheckpointException):
        return Raised(record, origin=error_origin(error))
    failures = [(rank, record_error(failure[0], path=path)) for rank, failure in sorted(error.failures.items())]
    return Raised(ErrorRecord(record.type, ""), phase=str(error.args[0]), failures=tuple(failures))


def read_metadata(path: str) -> tuple[MetadataRecord | None, ErrorRecord | None]:
    """The metadata as a new reader reads it from the directory ``path``, or what that raises."""
    try:
        return record_metadata(dcp.FileSystemReader(path).read_metadata()), None
    except Exception as error:
        return None, record_error(error, path=path)


def list_files(path: str) -> tuple[FileRecord, ...]:
    """The files below the directory ``path``, by name, but for the metadata: it says ``path``, so its size differs."""
    found = []
    for directory, _, names in os.walk(path):
        for name in set(names) - {".metadata"}:
            file = os.path.join(directory, name)
            found.append(FileRecord(os.path.relpath(file, path), os.stat(file).st_size))
    return tuple(sorted(found, key=lambda file: file.name))
