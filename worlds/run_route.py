"""Runs a save and a load by another way than DCP's own files."""

from __future__ import annotations

import shutil
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.format_utils import (
    BroadcastingTorchSaveReader,
    DynamicMetaLoadPlanner,
    torch_save_to_dcp,
)
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import Metadata

from .calls import load, save
from .example import ExampleWorld
from .inject import Injection
from .outcome import Outcome
from .program import Call, round_trip
from .routes import Route, Way
from .scenario import Scenario
from .state import StateDict

# Before torch 2.15 it had a name that begins with an underscore, which warns there.
_FSSPEC = ("torch.distributed.checkpoint.fsspec_filesystem", "torch.distributed.checkpoint._fsspec_filesystem")
_fsspec: Any = import_module(next(name for name in _FSSPEC if find_spec(name) is not None))

__all__ = ["run_route"]


def run_route(world: ExampleWorld, route: Route) -> Outcome:
    """Save on every rank of one world, and load on every rank of another; there may be no metadata in between."""
    directory = world.new_directory()
    path = f"{directory}/checkpoint"
    saving, loading = _CALLS[route.by]
    try:
        with world.example():
            return round_trip(
                path,
                partial(world.operate, route.scenario, "save", path, call=saving),
                partial(world.operate, route.scenario, "load", path, call=loading),
            )
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _torch_save(scenario: Scenario, state: StateDict, injection: Injection, path: str, group: Any) -> None:
    torch.save(state.entries, path)


def _convert(scenario: Scenario, state: StateDict, injection: Injection, path: str, group: Any) -> Metadata:
    torch.save(state.entries, f"{path}.pt")
    torch_save_to_dcp(f"{path}.pt", path)
    return dcp.FileSystemReader(path).read_metadata()


def _broadcasting_reader(scenario: Scenario, path: str) -> BroadcastingTorchSaveReader:
    operation = scenario.load
    return BroadcastingTorchSaveReader(path, coordinator_rank=operation.global_rank(operation.coordinator))


def _dynamic_planner(scenario: Scenario) -> DynamicMetaLoadPlanner:
    return DynamicMetaLoadPlanner(allow_partial_load=scenario.planner.allow_partial_load)


def _fsspec_reader(scenario: Scenario, path: str) -> Any:
    return _fsspec.FsspecReader(path)


def _safetensors_writer(path: str, *, enable_consolidation: bool, **_: object) -> HuggingFaceStorageWriter:
    return HuggingFaceStorageWriter(path, save_distributed=True, enable_consolidation=enable_consolidation)


def _safetensors_reader(scenario: Scenario, path: str) -> HuggingFaceStorageReader:
    return HuggingFaceStorageReader(path)


def _by_safetensors(*, consolidated: bool) -> tuple[Call, Call]:
    writer = partial(_safetensors_writer, enable_consolidation=consolidated)
    return partial(save, writer_type=writer), partial(load, make_reader=_safetensors_reader)


_CALLS: dict[Way, tuple[Call, Call | None]] = {
    "torch_save_to_dcp": (_convert, None),
    "broadcast": (_torch_save, partial(load, make_reader=_broadcasting_reader, make_planner=_dynamic_planner)),
    "fsspec": (partial(save, writer_type=_fsspec.FsspecWriter), partial(load, make_reader=_fsspec_reader)),
    "safetensors": _by_safetensors(consolidated=False),
    "consolidated": _by_safetensors(consolidated=True),
}
"""What each rank calls at save, and at load."""
