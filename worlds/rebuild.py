"""Reads checkpoints without a template, by the ways that torch has for it."""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save, torch_save_to_dcp
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys, load_state_dict

from .example import ExampleWorld
from .inject import Injection
from .rebuilding import Rebuilding, RebuildingOutcome
from .scenario import Scenario
from .state import StateDict
from .unread import NewMemory

__all__ = ["run_rebuilding"]


def run_rebuilding(world: ExampleWorld, rebuilding: Rebuilding) -> RebuildingOutcome:
    """Save the scenario's state, and rebuild it from the checkpoint."""
    directory = world.new_directory()
    try:
        with world.example():
            path = f"{directory}/checkpoint"
            saved = world.operate(rebuilding.scenario, "save", path)
            if not saved.returned:
                return RebuildingOutcome(saved)
            reading = Scenario(load=rebuilding.reader)
            return RebuildingOutcome(saved, world.operate(reading, "load", path, call=partial(_read, rebuilding)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _read(
    rebuilding: Rebuilding, scenario: Scenario, state: StateDict, injection: Injection, path: str, group: Any
) -> None:
    """In a rank: what it is to hold afterwards is what it has read."""
    keys = None if rebuilding.keys is None else set(rebuilding.keys)
    operation = rebuilding.reader
    with NewMemory():
        if rebuilding.by == "keys":
            # One key may be given as it is.
            asked = next(iter(keys)) if keys is not None and len(keys) == 1 else keys
            rebuilt = _load_state_dict_from_keys(asked, checkpoint_id=path, process_group=group)
        elif rebuilding.by == "planner":
            rebuilt = {}
            load_state_dict(
                rebuilt,
                FileSystemReader(path),
                process_group=group,
                coordinator_rank=operation.coordinator,
                no_dist=operation.no_dist or not operation.distributed,
                planner=_EmptyStateDictLoadPlanner(keys=keys),
            )
        else:
            rebuilt = _convert(path, twice=rebuilding.by == "there_and_back")
    state.entries.update(rebuilt)


def _convert(path: str, *, twice: bool) -> dict[Any, Any]:
    """What is in the file that the checkpoint is converted to; with ``twice``, to a checkpoint and a file again."""
    dcp_to_torch_save(path, f"{path}.pt")
    if twice:
        torch_save_to_dcp(f"{path}.pt", f"{path}-again")
        dcp_to_torch_save(f"{path}-again", f"{path}.pt")
    content: dict[Any, Any] = torch.load(f"{path}.pt", weights_only=False)
    return content
