"""What one rank does in one operation, and what one scenario comes to: the same in every world."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import _create_default_local_metadata
from torch.distributed.checkpoint.metadata import Metadata

from .abandoned import Abandoned
from .calls import load, save
from .damage import Damage
from .do_damage import damage_checkpoint
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
from .scenario import Scenario
from .state import StateDict

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
        return raised(error, path, state.observe())
    finally:
        injection.forget()
    return Returned(state.observe(), None if metadata is None else record_metadata(metadata))


def round_trip(
    path: str,
    save: Callable[[], OperationOutcome],
    load: Callable[[], OperationOutcome],
    damages: Sequence[Damage] = (),
) -> Outcome:
    """Save to the directory ``path``, look at what is there, and load it; what did not save on every rank is left.

    The ``damages`` are done in between.
    """
    saved = save()
    if not saved.returned:
        return Outcome(saved)
    metadata, error = read_metadata(path)
    files = list_files(path)
    damaged = damage_checkpoint(path, damages, metadata)
    return Outcome(saved, load(), metadata, error, files, damaged)


def default_metadata(scenario: Scenario, rank: int) -> MetadataRecord:
    """The metadata that DCP makes of one rank's state dict alone, without a storage and without asking other ranks."""
    return record_metadata(_create_default_local_metadata(StateDict(scenario, "save", rank).entries))


def raised(error: BaseException, path: str, state: tuple[EntryState, ...]) -> Raised:
    """What a call raised, as data, with the checkpoint's own path left out, and the state dict after it."""
    record = record_error(error, path=path)
    if not isinstance(error, CheckpointException):
        return Raised(record, origin=error_origin(error), state=state)
    failures = [(rank, record_error(failure[0], path=path)) for rank, failure in sorted(error.failures.items())]
    return Raised(ErrorRecord(record.type, ""), phase=str(error.args[0]), failures=tuple(failures), state=state)


def read_metadata(path: str) -> tuple[MetadataRecord | None, ErrorRecord | None]:
    """The metadata as a new reader reads it from the directory ``path``, or what that raises."""
    try:
        return record_metadata(dcp.FileSystemReader(path).read_metadata()), None
    except Exception as error:
        return None, record_error(error, path=path)


def list_files(path: str) -> tuple[FileRecord, ...]:
    """The files below the directory ``path``, by name, but for metadata: it says ``path``, so that its size differs."""
    found = []
    for directory, _, names in os.walk(path):
        for name in names:
            if name.endswith(".metadata"):
                continue
            file = os.path.join(directory, name)
            found.append(FileRecord(os.path.relpath(file, path), os.stat(file).st_size))
    return tuple(sorted(found, key=lambda file: file.name))
