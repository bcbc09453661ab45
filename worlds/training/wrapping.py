"""What the module of a training is wrapped in when DCP is given it, and its layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.parallel import DistributedDataParallel

from .case import Side
from .model import Layers

__all__ = ["unwrapped_name", "wrapped"]

_WITHIN = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")


def wrapped(module: Layers, side: Side) -> nn.Module:
    """The module as the side has it; its layers are wrapped in place, one that is there twice once."""
    if side.each != "bare":
        wrap: Any = torch.compile if side.each == "compiled" else checkpoint_wrapper
        made = {layer: wrap(layer) for layer in dict.fromkeys(module)}
        for place, layer in enumerate(list(module)):
            module[place] = made[layer]
    whole: Any = module
    for wrapper in reversed(side.whole.split()):
        if wrapper == "DDP":
            whole = DistributedDataParallel(whole)
        elif wrapper == "compiled":
            whole = torch.compile(whole)
    return whole  # type: ignore[no-any-return]


def unwrapped_name(name: str) -> str:
    """The name of a parameter or a buffer in the module whose layers are not wrapped."""
    for within in _WITHIN:
        name = name.replace(within, "")
    return name
