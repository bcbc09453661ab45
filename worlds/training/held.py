"""What a rank holds of a training: read from the module and the optimizer themselves, not by way of a state dict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.placement_types import Placement

from ..outcome import ChunkState
from ..parts import Part, chunk_runs, whole_runs
from ..values import tensor_bytes
from .flat import flat_runs
from .live import LiveTraining
from .model import ExtraCounterModule
from .outcome import FLAT, Held, HeldTensor
from .wrapping import unwrapped_name

__all__ = ["hold", "poison", "poison_training"]


def hold(live: LiveTraining) -> Held:
    """Every parameter, buffer, optimizer state and hyperparameter as this rank has it now."""
    live.reshard()
    runs = _flat_runs(live)
    tensors, values = {}, {}
    for name, value in _named(live):
        if isinstance(value, torch.Tensor):
            frozen = isinstance(value, torch.nn.Parameter) and not value.requires_grad
            scratch = name.endswith(".scratch") or name.startswith("grad.")
            tensors[name] = replace(_held_tensor(name, value, runs), frozen=frozen, scratch=scratch)
        else:
            values[name] = repr(value)
    return Held(tuple(tensors.items()), tuple(values.items()))


def poison_training(live: LiveTraining) -> None:
    """Let the module and the optimizer's state hold what no training holds, whatever is to be loaded."""
    live.reshard()
    for name, value in _named(live):
        if isinstance(value, torch.Tensor) and ".param_groups." not in name:
            poison(value)
    for module in live.module.modules():
        if isinstance(module, ExtraCounterModule):
            module.count = -1


def poison(value: Any) -> None:
    """Fill the tensors in ``value``, a tensor or a container, with bytes that are no value of a training."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            poison(inner)
    elif isinstance(value, torch.Tensor):
        local = value.to_local() if isinstance(value, DTensor) else value
        storage: Any = local.detach().untyped_storage()
        storage.fill_(0xA5)


def _named(live: LiveTraining) -> Iterator[tuple[str, Any]]:
    for name, tensor in live.module.named_parameters(remove_duplicate=False):
        yield f"model.{unwrapped_name(name)}", tensor
    for name, buffer in live.module.named_buffers(remove_duplicate=False):
        yield f"model.{unwrapped_name(name)}", buffer
    for name, module in live.module.named_modules():
        if isinstance(module, ExtraCounterModule):
            yield f"model.{unwrapped_name(f'{name}.')}_extra_state", module.count
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in live.parameters.items()}
    for name, parameter in live.parameters.items():
        if parameter.grad is not None:
            yield f"grad.{name}", parameter.grad
    for parameter, state in _states(live):
        # Text, say, in the place of a parameter is no name of one.
        name = names[parameter] if isinstance(parameter, torch.Tensor) else repr(parameter)
        if not state:
            yield f"optim.state.{name}", {}
        for key, value in state.items():
            if isinstance(value, list) and value:  # as of LBFGS
                yield from ((f"optim.state.{name}.{key}.{place}", element) for place, element in enumerate(value))
            else:
                yield f"optim.state.{name}.{key}", value
    for index, group in enumerate(group for optimizer in live.optimizers for group in optimizer.param_groups):
        for key, value in group.items():
            value = [names[parameter] for parameter in value] if key == "params" else value
            yield f"optim.param_groups.{index}.{key}", value


_Run = tuple[tuple[int, ...], int, int]
"""The shape of a parameter, and where in its elements a rank's own begin and end."""


def _flat_runs(live: LiveTraining) -> dict[str, _Run]:
    """What this rank has of each parameter that is in a flat one, by its name."""
    runs = flat_runs(live.model)
    return {name: (live.shapes[name], *runs[one]) for name, one in live.named_parameters(twice=True) if one in runs}


def _flat_run(name: str, runs: dict[str, _Run]) -> _Run | None:
    """That of a parameter, its gradient, or a state of it."""
    part, _, within = name.partition(".")
    if part == "optim":
        within = within.removeprefix("state.").rpartition(".")[0]
    return runs.get(within)


def _states(live: LiveTraining) -> Iterator[tuple[Any, dict[str, Any]]]:
    for optimizer in live.optimizers:
        yield from optimizer.state.items()


def _held_tensor(name: str, tensor: torch.Tensor, runs: dict[str, _Run]) -> HeldTensor:
    run = _flat_run(name, runs)
    if run is not None and tensor.dim() > 0:
        return _flat_tensor(name, tensor, *run)
    dtype, shape = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
    if tensor.is_meta:
        return HeldTensor(dtype, shape, "on the meta device", ())
    if not isinstance(tensor, DTensor):
        part = Part(tuple(whole_runs(shape)))
        return HeldTensor(dtype, shape, "Tensor", tuple(_chunks(name, part, tensor)))
    mesh = tensor.device_mesh
    layout = f"DTensor {tuple(tensor.placements)} on {mesh.mesh.tolist()}"
    part = _part(shape, tensor.placements, tuple(mesh.mesh.shape), tuple(mesh.get_coordinate() or ()))
    return HeldTensor(dtype, shape, layout, tuple(_chunks(name, part, tensor.to_local())))


def _flat_tensor(name: str, tensor: torch.Tensor, shape: tuple[int, ...], start: int, end: int) -> HeldTensor:
    """A view of one dim, of elements that are no box of the parameter, each of which is a chunk by itself then."""
    if tuple(tensor.shape) != (end - start,):
        raise ValueError(f"{name}: this rank holds {tuple(tensor.shape)}, and should hold {end - start} elements")
    chunks = []
    for index, element in zip(range(start, end), tensor.detach(), strict=True):
        place = [index // math.prod(shape[dim + 1 :]) % size for dim, size in enumerate(shape)]
        chunks.append(ChunkState(tuple(place), (1,) * len(shape), tensor_bytes(element)))
    return HeldTensor(str(tensor.dtype).removeprefix("torch."), shape, FLAT, tuple(chunks))


def _part(
    shape: tuple[int, ...], placements: tuple[Placement, ...], mesh: tuple[int, ...], coordinate: tuple[int, ...]
) -> Part:
    """What the rank at ``coordinate`` holds, from the last mesh dim to the first.

    In that order the parallelisms cut a parameter: tensor parallelism first, and ``fully_shard`` what is left on each
    rank. That makes the strided shards of FSDP2 plain ones, also where rows do not divide evenly.
    """
    runs = whole_runs(shape)
    for placement, count, index in reversed(list(zip(placements, mesh, coordinate, strict=True))):
        if not isinstance(placement, Replicate):
            dim: int = placement.dim  # type: ignore[attr-defined]
            runs[dim] = chunk_runs(runs[dim], count)[index]
    return Part(tuple(runs))


def _chunks(name: str, part: Part, local: torch.Tensor) -> Iterator[ChunkState]:
    local = local.detach()
    if part.sizes != tuple(local.shape):
        raise ValueError(f"{name}: this rank holds {tuple(local.shape)}, and should hold {part.sizes}")
    for box, start in part.boxes():
        block = local
        for dim, (offset, size) in enumerate(zip(start, box.sizes, strict=True)):
            block = block.narrow(dim, offset, size)
        yield ChunkState(box.offsets, box.sizes, tensor_bytes(block))
