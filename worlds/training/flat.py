"""FSDP's first version: how it wraps a training, and which elements of a parameter a rank has of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy
from torch.distributed.fsdp._runtime_utils import _reshard

from .model import Layers, Within

__all__ = ["flat_runs", "flatten", "reshard_flat"]


def flatten(model: Layers, mesh: DeviceMesh, *, each: bool) -> nn.Module:
    """The module in FSDP, and with ``each`` its layers too, in place, one that is there twice once."""
    if each:
        layers = [layer for layer in dict.fromkeys(model) if not isinstance(layer, Within)]
        made = {layer: _sharded(layer, mesh) for layer in layers if any(True for _ in layer.parameters())}
        for place, layer in enumerate(list(model)):
            if isinstance(layer, Within):
                layer[0] = made.get(layer[0], layer[0])
            model[place] = made.get(layer, layer)
    return _sharded(model, mesh)


def _sharded(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    strategy = ShardingStrategy.FULL_SHARD if mesh.ndim == 1 else ShardingStrategy.HYBRID_SHARD
    device = torch.device("cpu")
    return FullyShardedDataParallel(
        module, device_mesh=mesh, device_id=device, use_orig_params=True, sharding_strategy=strategy
    )


def reshard_flat(model: nn.Module) -> None:
    """Free what a forward pass without a backward pass leaves gathered, as that of the outermost module."""
    for module in _with_handle(model):
        handle = module._handle
        if handle.uses_sharded_strategy and not handle.is_sharded(handle.flat_param):
            # Private, and so is whatever else would do it.
            _reshard(module, handle, True)


def flat_runs(model: nn.Module) -> dict[nn.Parameter, tuple[int, int]]:
    """Where what this rank has of a parameter begins and ends among its elements, as FSDP says that it has cut them."""
    runs = {}
    for module in _with_handle(model):
        flat = module._handle.flat_param
        for parameter, info in zip(flat._params, flat._shard_param_infos, strict=True):
            start = info.intra_param_start_idx or 0
            runs[parameter] = (start, start + (info.numel_in_shard or 0))
    return runs


def _with_handle(model: nn.Module) -> Iterator[Any]:
    for module in model.modules():
        if isinstance(module, FullyShardedDataParallel) and module._handle is not None:
            yield module
