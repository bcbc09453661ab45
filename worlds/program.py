"""What one rank does in one operation, and what one scenario comes to: the same in every world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import _create_default_local_metadata
from torch.distributed.checkpoint.metadata import Metadata

from .abandoned import Abandoned
from .accelerator import check_stager
from .calls import load, save
from .do_damage import damage_checkpoint, read_files
from .inject import Injection
from .metadata import record_metadata
from .outcome import (
    EntryState,
    ErrorRecord,
    FileRecord,
    Hit,
    MetadataRecord,
    OperationOutcome,
    Outcome,
    Raised,
    RankOutcome,
    Returned,
)
from .record import error_origin, record_error
from .safetensors_files import places_in
from .scenario import Scenario
from .state import StateDict
from .storages import FILE_SYSTEM, find_storage, limits_of

__all__ = [
    "Call",
    "GroupOf",
    "default_metadata",
    "list_files",
    "make_group",
    "raised",
    "read_metadata",
    "round_trip",
    "run_rank",
]

Call = Callable[[Scenario, StateDict, Injection, str, Any], Metadata | None]
"""Saves or loads a rank's state dict at a path, in a process group; :func:`worlds.calls.save` and ``load`` are such."""

GroupOf = Callable[[tuple[int, ...]], Any]
"""Gives the process group of those ranks of the world, each of which asks for it."""


def make_group(members: tuple[int, ...]) -> Any:
    """The process group of those ranks, which every rank of the world has to make."""
    return dist.new_group(list(members))


def run_rank(
    scenario: Scenario,
    operation: Literal["save", "load"],
    rank: int,
    path: str,
    hits: list[Hit],
    *,
    prepare: Callable[[StateDict], None] | None = None,
    group_of: GroupOf = make_group,
    call: Call | None = None,
) -> RankOutcome | None:
    """Save to, or load from, the directory ``path`` as that rank, in whatever ``torch.distributed`` is set up.

    ``rank`` is the rank in the whole world; one that takes no part has no outcome. The faults that are reached go to
    ``hits``; ``prepare`` may change the state dict first; ``group_of`` gives the process group of a sub-group; ``call``
    is what saves or loads, in the place of the scenario's own API. Whatever DCP raises comes back as data; what the
    scenario itself raises, before DCP is called, is an error of the tester and is raised.
    """
    options = scenario.operation(operation)
    check_stager(options.stager)
    group = group_of(options.members) if options.members else None
    if options.members:
        if rank not in options.members:
            return None
        rank = options.members.index(rank)
    injection = Injection(scenario, operation, rank, hits)
    state = StateDict(
        scenario, operation, rank, group=group, place_faults=lambda stateful: injection.place("stateful", stateful)
    )
    if prepare is not None:
        prepare(state)
    call = call or (save if operation == "save" else load)
    try:
        metadata = call(scenario, state, injection, path, group)
    except Abandoned:
        raise
    except BaseException as error:
        return raised(error, path, state.observe(failed=True))
    finally:
        injection.forget()
    return Returned(state.observe(), None if metadata is None else record_metadata(metadata))


def round_trip(
    scenario: Scenario,
    path: str,
    save: Callable[[], OperationOutcome],
    load: Callable[[], OperationOutcome],
) -> Outcome:
    """Save to the ``path``, look at what is there, and load it; what did not save on every rank is left.

    The scenario's damage is done in between. In the end its storage cleans up.
    """
    try:
        saved = save()
        if not saved.returned:
            return Outcome(saved)
        metadata, error = read_metadata(path, scenario.storage)
        files = list_files(path, scenario.storage)
        if not scenario.damages:
            return Outcome(saved, load(), metadata, error, files)
        kept = limits_of(scenario.storage).metadata
        places = None if kept else places_in(read_files(path))
        damaged = damage_checkpoint(path, scenario.damages, metadata or places, find_storage(scenario.storage).suffix)
        return Outcome(saved, load(), metadata, error, files, damaged, places)
    finally:
        storage = find_storage(scenario.storage)
        storage.clean_up(storage.checkpoint_id(path))


def default_metadata(scenario: Scenario, rank: int) -> MetadataRecord:
    """The metadata that DCP makes of one rank's state dict alone, without a storage and without asking other ranks."""
    return record_metadata(_create_default_local_metadata(StateDict(scenario, "save", rank).entries))


def raised(error: BaseException, path: str, state: tuple[EntryState, ...]) -> Raised:
    """What a call raised, as data, with the checkpoint's own path left out, and the state dict after it."""
    record = record_error(error, path=path)
    if not isinstance(error, CheckpointException):
        return Raised(record, origin=error_origin(error), state=state)
    failures = [
        (rank, record_error(failed, path=path, summary=summary))
        for rank, (failed, summary) in sorted(error.failures.items())
    ]
    return Raised(ErrorRecord(record.type, ""), phase=str(error.args[0]), failures=tuple(failures), state=state)


def read_metadata(path: str, storage: str = FILE_SYSTEM) -> tuple[MetadataRecord | None, ErrorRecord | None]:
    """The metadata as a new reader of the storage reads it, or what that raises; neither where it keeps none."""
    made = find_storage(storage)
    if not made.limits.metadata:
        return None, None
    try:
        return record_metadata(made.make_reader(made.checkpoint_id(path)).read_metadata()), None
    except Exception as error:
        return None, record_error(error, path=path)


def list_files(path: str, storage: str = FILE_SYSTEM) -> tuple[FileRecord, ...] | None:
    """The files of the checkpoint, by name, without its metadata; ``None`` where the storage does not tell."""
    made = find_storage(storage)
    return made.list_files(made.checkpoint_id(path))
