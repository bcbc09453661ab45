"""Runs a save and a load by a file of ``torch.save``."""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.format_utils import (
    BroadcastingTorchSaveReader,
    DynamicMetaLoadPlanner,
    torch_save_to_dcp,
)
from torch.distributed.checkpoint.metadata import Metadata

from .calls import load
from .example import ExampleWorld
from .inject import Injection
from .outcome import Outcome
from .program import Call, round_trip
from .routes import Route, Way
from .scenario import Scenario
from .state import StateDict

__all__ = ["run_route"]


def run_route(world: ExampleWorld, route: Route) -> Outcome:
    """Save on every rank of one world, and load on every rank of another; there may be no metadata in between."""
    directory = world.new_directory()
    path = f"{directory}/checkpoint"
    saving, loading = _CALLS[route.by]
    try:
        with world.example():
            return round_trip(
                route.scenario,
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
    options = scenario.planner
    return DynamicMetaLoadPlanner(
        options.flatten_state_dict, options.flatten_sharded_tensors, allow_partial_load=options.allow_partial_load
    )


_CALLS: dict[Way, tuple[Call, Call | None]] = {
    "torch_save_to_dcp": (_convert, None),
    "broadcast": (_torch_save, partial(load, make_reader=_broadcasting_reader, make_planner=_dynamic_planner)),
}
"""What each rank calls at save, and at load."""
