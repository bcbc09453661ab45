"""Runs a training on every rank of one world, and loads it on every rank of another."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from ..launched import Launched
from .case import Training
from .outcome import Saved, TrainingOutcome
from .program import load_training, save_training

__all__ = ["run_training"]

T = TypeVar("T")


class _World(Protocol):
    def launch(self, body: Callable[[int], T], world_size: int) -> Launched[T]: ...


def run_training(world: _World, training: Training) -> TrainingOutcome:
    """What every rank held. What is saved on every rank is loaded, by ranks that have nothing of the others."""
    shared_memory = Path("/dev/shm")
    parent = str(shared_memory) if shared_memory.is_dir() else None
    directory = tempfile.mkdtemp(prefix=f"dcp-stress-{os.getpid()}-", dir=parent)
    path = f"{directory}/checkpoint"
    try:
        size = training.saved.parallelism.world_size
        saved = world.launch(partial(save_training, training, path), size).ranks
        if not all(isinstance(rank, Saved) for rank in saved):
            return TrainingOutcome(saved)
        size = training.loaded.parallelism.world_size
        return TrainingOutcome(saved, world.launch(partial(load_training, training, path), size).ranks)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
