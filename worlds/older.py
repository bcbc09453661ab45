"""The values of an earlier save: others than those that a scenario saves, of the same dtypes and shapes."""

from __future__ import annotations

import torch

from .state import StateDict
from .tensors import local_tensors

__all__ = ["OLD_BITS", "OLD_OBJECT", "make_old"]

OLD_BITS = 0x55
"""What the bytes of the older tensors differ in; neither what was saved nor the poison of :mod:`worlds.values`.

But for bool, which has two legal bytes only, and differs in the last bit.
"""

OLD_OBJECT = "<an older value>"
"""What stands in the earlier checkpoint where an object is."""


def make_old(state: StateDict) -> None:
    """Give each element of each tensor, and each object, another value than it has; dtypes and shapes stay.

    Tensors and objects in containers stay as they are.
    """
    flipped: set[int] = set()
    for fqn, value in state.entries.items():
        if isinstance(value, torch.Tensor):
            for local in local_tensors(value)[1]:
                _flip(local, flipped)
        elif not isinstance(value, dict | list | tuple) and not hasattr(value, "state_dict"):
            state.entries[fqn] = OLD_OBJECT


def _flip(tensor: torch.Tensor, flipped: set[int]) -> None:
    """Flip the whole memory of a tensor, once, whoever else is in it."""
    data = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.detach().untyped_storage())
    if data.data_ptr() not in flipped:
        flipped.add(data.data_ptr())
        data.bitwise_xor_(1 if tensor.dtype == torch.bool else OLD_BITS)
