"""A training that runs: the module as one rank holds it, its optimizer, and the steps that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from .case import Side, Training
from .flat import flatten, reshard_flat
from .hyperparameters import learning_rate, own_options, variant_options, weight_decay
from .model import BATCH, EmbeddingModule, Layers, MlpModule, ScaleModule, make_model
from .optimizer import Optimizer
from .parallelism import Parallelism
from .wrapping import unwrapped_name, wrapped

__all__ = ["LiveTraining"]


class LiveTraining:
    """The training of one side, on the rank that makes it.

    ``parameters`` are those that the optimizer has, by the first of their names. ``module`` is what is trained, and
    ``model`` what DCP is given: the same, or what it is wrapped in.
    """

    def __init__(self, training: Training, side: Side, *, loads: bool) -> None:
        self.training = training
        self.side = side
        self.module = make_model(training)
        if side.parallelism.stages > 1:
            self.module.keep(training.places_of(side, dist.get_rank()))
        if side.meta:
            self.module.to("meta")
            self._tie()
        self.shapes = {name: tuple(parameter.shape) for name, parameter in self.named_parameters(twice=True)}
        self.model: nn.Module = _parallelize(self.module, side.parallelism)
        self._stepped = self.model
        self.parameters = dict(self.named_parameters())
        self.optimizers = () if side.meta else self._make_optimizers(loads=loads)
        for _ in range(side.steps):
            self.step()
        if side.backward:
            self._backward()

    def materialised(self, like: LiveTraining) -> None:
        """Make what the load of a module on the meta device leaves to others; ``like`` has the other buffers."""
        self._tie()
        for module, other in zip(self.module.modules(), like.module.modules(), strict=True):
            for name, buffer in module.named_buffers(recurse=False):
                if buffer.is_meta:
                    setattr(module, name, other.get_buffer(name).clone())
        self.parameters = dict(self.named_parameters())
        self.optimizers = self._make_optimizers(loads=True)

    def named_parameters(self, *, twice: bool = False) -> Iterator[tuple[str, nn.Parameter]]:
        """Those of the module, each by the first of its names, or by all of them, as they are where nothing wraps."""
        for name, parameter in self.module.named_parameters(remove_duplicate=not twice):
            yield unwrapped_name(name), parameter

    def _make_optimizers(self, *, loads: bool) -> tuple[torch.optim.Optimizer, ...]:
        matrices = {name for name, shape in self.shapes.items() if len(shape) > 1}
        return _make_optimizers(self.training, self.parameters, matrices, loads=loads)

    def _tie(self) -> None:
        for module in self.module.modules():
            if isinstance(module, EmbeddingModule):
                module.tie()

    def step(self) -> None:
        """A step of the training, without what DCP finds the module wrapped in."""
        asked = self.training.optimizer
        if asked is not None and asked.kind == "LBFGS":
            self.optimizers[0].step(self._backward)  # which is called several times in a step
        else:
            self._backward()
            for optimizer in self.optimizers:
                optimizer.step()
        self._forget_gradients()

    def evaluate(self) -> None:
        """A forward pass, as between two epochs: without gradients, and with no step after it."""
        self.model.eval()
        with torch.no_grad():
            self.model(self._batch())
        self.model.train()

    def wrap(self) -> None:
        """Wrap the module, and its layers, as DCP is to find them. They take no step after that."""
        if not self.side.parallelism.flat:
            self.model = wrapped(self.module, self.side)

    def reshard(self) -> None:
        """Free what ``fully_shard`` has gathered, so that the module has its sharded parameters again."""
        for module in self.module.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        reshard_flat(self.model)

    def _backward(self) -> Any:
        """The loss, of which all gradients are there then, and no others."""
        self._forget_gradients()
        loss = self._stepped(self._batch()).square().sum()
        loss.backward()
        for parameter in self.parameters.values():
            gradient = parameter.grad
            if isinstance(parameter, DTensor) and isinstance(gradient, DTensor):
                # DTensor hands some back replicated, as that of a bias of one element, and optimizers do not take them.
                parameter.grad = gradient.redistribute(placements=parameter.placements)
        return loss.detach()

    def _forget_gradients(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None

    def _batch(self) -> torch.Tensor:
        # The same on each rank, so that replicas stay equal without anybody's help.
        batch = torch.linspace(-1, 1, BATCH * self.training.width).reshape(BATCH, self.training.width)
        return batch.to(getattr(torch, self.training.dtype))


def _parallelize(model: Layers, parallelism: Parallelism) -> nn.Module:
    """What takes the steps: the module, or what it is in then."""
    mesh = _make_mesh(parallelism)
    if mesh is None:
        return model
    if parallelism.flat:
        return flatten(model, mesh, each=parallelism.wrapped)
    names = mesh.mesh_dim_names or ()
    if "tensor" in names:
        _parallelize_tensors(model, mesh["tensor"])
    if "data" in names:
        within = mesh["replicas", "data"] if "replicas" in names else mesh["data"]
        ignored = {scale.weight for scale in model.modules() if isinstance(scale, ScaleModule)}
        if parallelism.wrapped:
            for layer in dict.fromkeys(model):
                if any(parameter not in ignored for parameter in layer.parameters()):
                    fully_shard(layer, mesh=within, ignored_params=ignored)
        fully_shard(model, mesh=within, ignored_params=ignored)
    return model


def _make_mesh(parallelism: Parallelism) -> DeviceMesh | None:
    """The mesh, without the dims that nothing is along; ``None`` where that is all of them."""
    sizes = {
        "stages": parallelism.stages if parallelism.stages > 1 else 0,
        "replicas": parallelism.replicas if parallelism.replicas > 1 else 0,
        "data": parallelism.data,
        "tensor": parallelism.tensor,
    }
    names = tuple(name for name, size in sizes.items() if size)
    if {"stages", "replicas"}.issuperset(names):
        return None
    return init_device_mesh("cpu", tuple(sizes[name] for name in names), mesh_dim_names=names)


def _parallelize_tensors(model: nn.Module, mesh: DeviceMesh) -> None:
    for module in list(model.modules()):
        if isinstance(module, MlpModule):
            # What is between the two stays a DTensor: the columns may be uneven, which a plain tensor does not know.
            plan = {"up": ColwiseParallel(use_local_output=False), "down": RowwiseParallel()}
            parallelize_module(module, mesh, plan)
        elif isinstance(module, EmbeddingModule):
            everywhere = Replicate()
            plan = {
                "tokens": RowwiseParallel(input_layouts=everywhere),
                "head": ColwiseParallel(output_layouts=everywhere),
            }
            parallelize_module(module, mesh, plan)
            module.tie()


def _make_optimizers(
    training: Training, parameters: dict[str, nn.Parameter], names: set[str], *, loads: bool
) -> tuple[torch.optim.Optimizer, ...]:
    """Those of the parameters; ``names`` are those of matrices, which a rank may have as views of one dim."""
    asked = training.optimizer
    if asked is None:
        return ()
    groups: list[dict[str, Any]] = [{"params": list(parameters.values())}]
    kinds = [asked]
    if asked.groups != "one":
        matrices = [parameter for name, parameter in parameters.items() if name in names]
        others = [parameter for name, parameter in parameters.items() if name not in names]
        groups, kinds = [{"params": matrices}, {"params": others}], [asked, asked.of_others]
        if asked.groups == "matrices last":
            groups.reverse()
            kinds.reverse()
    for number, group in enumerate(groups):
        rate = learning_rate(number, loads=loads)
        group["lr"] = torch.tensor(rate) if asked.tensor_lr else rate
        if asked.scheduled:
            group["initial_lr"] = 2 * rate
    if not asked.apart:
        return (_make_optimizer(asked, groups, loads=loads),)
    return tuple(_make_optimizer(kind, [group], loads=loads) for kind, group in zip(kinds, groups, strict=True))


def _make_optimizer(asked: Optimizer, groups: list[dict[str, Any]], *, loads: bool) -> torch.optim.Optimizer:
    options = {
        **own_options(asked, loads=loads),
        **variant_options(asked, loads=loads),
        **weight_decay(asked, loads=loads),
    }
    made: torch.optim.Optimizer = getattr(torch.optim, asked.kind)(groups, **options)
    return made
