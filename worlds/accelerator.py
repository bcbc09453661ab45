"""The accelerator of this machine, where there is one: what else than the CPU tensors can be held on."""

from __future__ import annotations

from functools import cache

import torch

from .dtypes import DTYPES
from .invalid import require
from .layouts import Device
from .operations import Stager

__all__ = ["check_stager", "is_held_by_accelerator", "torch_device"]


def torch_device(device: Device) -> torch.device:
    """The device that it is, the current one of several; raises :class:`worlds.InvalidScenario` where there is none."""
    if device == "cpu":
        return torch.device("cpu")
    require(torch.accelerator.is_available(), "a tensor is to be on an accelerator, and there is none here")
    accelerator = torch.accelerator.current_accelerator()
    assert accelerator is not None
    return torch.device(accelerator.type, torch.accelerator.current_device_index())


def check_stager(stager: Stager) -> None:
    """Raise :class:`worlds.InvalidScenario` where it takes an accelerator and there is none."""
    there = "pinned" not in stager or torch.accelerator.is_available()
    require(there, "to stage without waiting takes an accelerator, and there is none here")


@cache
def is_held_by_accelerator(dtype: str) -> bool:
    """Whether there is one, and a tensor of that dtype can be on it: on Apple's, none of float64 can."""
    if not torch.accelerator.is_available():
        return False
    try:
        torch.empty(1, dtype=DTYPES[dtype], device=torch_device("accelerator"))
    except (TypeError, RuntimeError):
        return False
    return True
