"""Calls DCP with an argument that it cannot have, and goes on as if nothing had been."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.staging import DefaultStager
from torch.distributed.checkpoint.state_dict_loader import load_state_dict
from torch.distributed.checkpoint.state_dict_saver import AsyncSaveResponse, save_state_dict

from .digests import digests
from .example import ExampleWorld
from .inject import Injection
from .misuses import Misuse, MisuseOutcome
from .operations import Api
from .program import GroupOf, round_trip
from .scenario import Scenario
from .state import StateDict

__all__ = ["run_misuse"]


def run_misuse(world: ExampleWorld, misuse: Misuse) -> MisuseOutcome:
    """Save what is to be there, make the call, and save and load elsewhere, as far as the ranks go on."""
    directory = world.new_directory()
    path, then = f"{directory}/checkpoint", f"{directory}/next"
    legal, name = misuse.scenario, misuse.name
    before = loaded = None
    try:
        with world.example():
            if name == "load" or misuse.over:
                before = world.operate(legal, "save", path)
                if not before.returned:
                    return MisuseOutcome(before)
            old = digests(directory)
            operation = misuse.operation
            scenario = replace(legal, save=operation) if name == "save" else replace(legal, load=operation)
            call = world.operate(scenario, name, path, call=partial(_misuse, misuse, world.group_of))
            new = digests(directory)
            changed = tuple(sorted(file for file in old.keys() | new.keys() if old.get(file) != new.get(file)))
            if not call.goes_on:
                return MisuseOutcome(before, call, changed)
            if name == "save" and call.returned:
                loaded = world.operate(legal, "load", path)
                if not loaded.goes_on:
                    return MisuseOutcome(before, call, changed, loaded)
            save, load = (partial(world.operate, legal, each, then) for each in ("save", "load"))
            return MisuseOutcome(before, call, changed, loaded, round_trip(legal, then, save, load))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _misuse(
    misuse: Misuse,
    group_of: GroupOf,
    scenario: Scenario,
    state: StateDict,
    injection: Injection,
    path: str,
    group: Any,
) -> None:
    """In a rank: the call, wrong or not."""
    name, operation = misuse.name, misuse.operation
    rank = dist.get_rank() if operation.distributed else 0
    arguments: dict[str, Any] = {"state_dict": state.entries, **_right(name, operation.api, path)}
    if misuse.kind == "group of others":
        others = tuple(each for each in range(operation.world_size) if each not in misuse.ranks)
        arguments["process_group"] = group_of(others)
    elif rank in misuse.wrong:
        arguments.update(_wrong(misuse, path))
    _call(name, operation.api, arguments, distributed=operation.distributed)


def _right(name: Literal["save", "load"], api: Api, path: str) -> dict[str, Any]:
    storage: dict[str, Any]
    if name == "save":
        storage = {"storage_writer": dcp.FileSystemWriter(path, sync_files=False), "planner": dcp.DefaultSavePlanner()}
    else:
        storage = {"storage_reader": dcp.FileSystemReader(path), "planner": dcp.DefaultLoadPlanner()}
    return storage if api == "legacy" else {"checkpoint_id": path, **storage}


def _wrong(misuse: Misuse, path: str) -> dict[str, Any]:
    """The arguments that are wrong."""
    name, api, kind = misuse.name, misuse.operation.api, misuse.kind
    storage = "storage_writer" if name == "save" else "storage_reader"
    writer, reader = partial(dcp.FileSystemWriter, path, sync_files=False), partial(dcp.FileSystemReader, path)
    if kind in _OPTIONS:
        return {storage: writer(**_OPTIONS[kind])}
    unnamed = {storage: None} if api == "legacy" else {storage: None, "checkpoint_id": None}
    match kind:
        case "no name":
            return unnamed
        case "number for an id":
            return {storage: None, "checkpoint_id": 1}
        case "id of no storage":
            return {storage: None, "checkpoint_id": "nosuch://checkpoint"}
        case "path for a storage":
            return {storage: path}
        case "storage's class":
            return {storage: dcp.FileSystemWriter if name == "save" else dcp.FileSystemReader}
        case "storage for the other":
            return {storage: reader() if name == "save" else writer()}
        case "planner's class":
            return {"planner": dcp.DefaultSavePlanner if name == "save" else dcp.DefaultLoadPlanner}
        case "planner for the other":
            return {"planner": dcp.DefaultLoadPlanner() if name == "save" else dcp.DefaultSavePlanner()}
        case "coordinator behind the last":
            return {"coordinator_rank": misuse.operation.world_size}
    return {**_VALUES[kind]}


_OPTIONS: dict[str, dict[str, Any]] = {
    "no threads": {"thread_count": 0},
    "threads below 0": {"thread_count": -1},
    "copy ahead below 0": {"per_thread_copy_ahead": -1},
    "format by its name": {"serialization_format": "torch_save"},
    "over a checkpoint": {"overwrite": False},
}
"""The options of a writer, by what is wrong with them."""

_VALUES: dict[str, dict[str, Any]] = {
    "no state": {"state_dict": None},
    "list for a state": {"state_dict": []},
    "text for a group": {"process_group": "gloo"},
    "coordinator below 0": {"coordinator_rank": -1},
    "no_dist": {"no_dist": True},
    "no collectives": {"use_collectives": False},
    "executor by its name": {"async_checkpointer_type": "process"},
    "stager's class": {"async_stager": DefaultStager},
}
"""The arguments, by what is wrong with them."""


def _call(name: Literal["save", "load"], api: Api, arguments: dict[str, Any], *, distributed: bool) -> None:
    if api == "legacy":
        if not distributed:
            arguments.setdefault("no_dist", True)
        legacy: Any = save_state_dict if name == "save" else load_state_dict
        legacy(**arguments)
    elif name == "load":
        dcp.load(**arguments)
    elif api == "async":
        begun = dcp.async_save(**arguments)
        upload = begun.upload_completion if isinstance(begun, AsyncSaveResponse) else begun
        upload.result()
    else:
        dcp.save(**arguments)
