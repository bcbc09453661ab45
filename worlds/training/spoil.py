"""Makes of a state dict that fits a training one that does not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from .misfit import Misfit

__all__ = ["NOBODY", "OBJECT", "copied", "spoil_model", "spoil_optimizer"]

NOBODY = "nobody"
"""The name of what is not there."""

OBJECT = 7
"""What is in the place of a tensor."""


def copied(state: Any) -> Any:
    """Other containers, and other tensors, of the same: a call may keep what it is given, and change it."""
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, list):
        return [copied(value) for value in state]
    return state.detach().clone() if isinstance(state, torch.Tensor) else state


def spoil_model(misfit: Misfit, state: dict[str, Any]) -> tuple[Any, str]:
    """The model's state dict with what is wrong in it, and the name of that."""
    tensors = [key for key, value in state.items() if isinstance(value, torch.Tensor)]
    match misfit.kind:
        case "model key missing":
            key = _chosen(misfit, state)
            del state[key]
            return state, key
        case "model key too many":
            state[NOBODY] = torch.ones(1)
            return state, NOBODY
        case "model tensor of more rows":
            key = _chosen(misfit, tensors)
            state[key] = _of_rows(state[key], 2)
            return state, key
        case "model tensor of one row":
            key = _chosen(misfit, [key for key in tensors if state[key].shape[:1] > (1,)])
            state[key] = _of_rows(state[key], 0)
            return state, key
        case "object for a model tensor":
            key = _chosen(misfit, tensors)
            state[key] = OBJECT
            return state, key
        case "list for the model's state":
            return [*state], ""
        case "model's state of another module":
            return {nn.Identity(): state}, ""
    return state, ""


def spoil_optimizer(misfit: Misfit, state: dict[str, Any], other: dict[str, Any] | None) -> tuple[Any, str]:
    """The optimizer's state dict with what is wrong in it, and the name of that; ``other`` is of another kind."""
    if misfit.kind == "list for the optimizer's state":
        return [*state], ""
    if misfit.kind == "state of another optimizer":
        return other, ""
    return _spoil_flat(misfit, state) if misfit.flatten else _spoil_nested(misfit, state)


def _spoil_nested(misfit: Misfit, state: dict[str, Any]) -> tuple[Any, str]:
    states: dict[str, dict[str, Any]] = state["state"]
    groups: list[dict[str, Any]] = state["param_groups"]
    match misfit.kind:
        case "no state":
            del state["state"]
            return state, ""
        case "no param_groups":
            del state["param_groups"]
            return state, ""
        case "no groups":
            groups.clear()
            return state, ""
        case "hyperparameter missing":
            group = _chosen(misfit, [group for group in groups if group["params"]])
            del group["lr"]
            return state, "lr"
        case "parameter missing in a group":
            group = _chosen(misfit, [group for group in groups if group["params"]])
            return state, group["params"].pop(-1 if misfit.last else 0)
        case "parameter too many in a group":
            _chosen(misfit, groups)["params"].append(NOBODY)
            return state, NOBODY
        case "parameter ids for names":
            return _by_number(state), ""
    name = _chosen(misfit, states)
    of_one = states[name]
    match misfit.kind:
        case "state of a parameter missing":
            del states[name]
        case "state of a parameter in part":
            del of_one[_chosen(misfit, of_one)]
        case "state of no parameter":
            states[NOBODY] = copied(of_one)
            return state, NOBODY
        case "state of more rows":
            key = _largest(of_one)
            of_one[key] = _of_rows(of_one[key], 2)
        case "object for a state":
            of_one[_largest(of_one)] = OBJECT
    return state, name


def _spoil_flat(misfit: Misfit, state: dict[str, Any]) -> tuple[Any, str]:
    states = [key for key in state if key.startswith("state.")]
    rates = [key for key in state if key.endswith(".lr")]
    match misfit.kind:
        case "no state":
            return {key: state[key] for key in state if key not in states}, ""
        case "no param_groups":
            return {key: state[key] for key in states}, ""
        case "hyperparameter missing":
            del state[_chosen(misfit, rates)]
            return state, "lr"
    name = _chosen(misfit, dict.fromkeys(key.removeprefix("state.").rpartition(".")[0] for key in states))
    own = {key: state[key] for key in states if key.rpartition(".")[0] == f"state.{name}"}
    match misfit.kind:
        case "state of a parameter missing":
            return {key: state[key] for key in state if key not in own}, name
        case "state of a parameter in part":
            del state[_chosen(misfit, own)]
        case "state of no parameter":
            state |= {key.replace(f"state.{name}.", f"state.{NOBODY}."): copied(value) for key, value in own.items()}
            return state, NOBODY
        case "state of more rows":
            key = _largest(own)
            state[key] = _of_rows(state[key], 2)
        case "object for a state":
            state[_largest(own)] = OBJECT
    return state, name


def _chosen(misfit: Misfit, among: Iterable[Any]) -> Any:
    return [*among][-1 if misfit.last else 0]


def _by_number(state: dict[str, Any]) -> dict[str, Any]:
    """With the numbers for names that ``Optimizer.state_dict`` has."""
    names = [name for group in state["param_groups"] for name in group["params"]]
    numbers = {name: number for number, name in enumerate(names)}
    groups = [{**group, "params": [numbers[name] for name in group["params"]]} for group in state["param_groups"]]
    return {"state": {numbers[name]: one for name, one in state["state"].items()}, "param_groups": groups}


def _largest(state: dict[str, Any]) -> str:
    """The key of the largest tensor, the first of those of one size."""
    sizes = {key: value.numel() for key, value in state.items() if isinstance(value, torch.Tensor)}
    return max(sizes, key=lambda key: sizes[key])


def _of_rows(tensor: torch.Tensor, times: int) -> torch.Tensor:
    """A tensor of that many times the rows, or for 0 of the first of them; two elements in the place of no dims.

    Of a ``DTensor``, each rank makes its part alone, since others may have what is right.
    """
    if not isinstance(tensor, DTensor):
        return tensor.repeat(times, *(1,) * (tensor.dim() - 1)) if times else tensor[:1].clone()
    shape = torch.Size((times * tensor.shape[0] or 1, *tensor.shape[1:]) if tensor.dim() else (2,))
    stride = tuple(math.prod(shape[dim + 1 :]) for dim in range(len(shape)))
    mesh, placements = tensor.device_mesh, tensor.placements
    part, _ = compute_local_shape_and_global_offset(shape, mesh, placements)
    local = torch.ones(part, dtype=tensor.dtype)
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=shape, stride=stride)
