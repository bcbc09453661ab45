"""Loads windows of saved tensors, as ``load_sharded_optimizer_state_dict`` does for a slice of the ranks."""

from __future__ import annotations

import shutil
from functools import partial

from torch.distributed.checkpoint.optimizer import _ReaderWithOffset

from .calls import load
from .example import ExampleWorld
from .scenario import Scenario
from .windows import NAME, Window, WindowOutcome

__all__ = ["run_window"]


def run_window(world: ExampleWorld, window: Window) -> WindowOutcome:
    """Save the tensor, and load the window of it."""
    directory = world.new_directory()
    path = f"{directory}/checkpoint"
    loading = partial(load, make_planner=partial(_planner, window.offset))
    try:
        with world.example():
            saved = world.operate(window.scenario, "save", path)
            if not saved.returned:
                return WindowOutcome(saved)
            return WindowOutcome(saved, world.operate(window.scenario, "load", path, call=loading))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _planner(offset: tuple[int, ...], _: Scenario) -> _ReaderWithOffset:
    return _ReaderWithOffset({NAME: offset})
