"""A training that runs: the module as one rank holds it, its optimizer, and the steps that it takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from .case import Parallelism, Side, Training
from .hyperparameters import learning_rate, own_options, variant_options, weight_decay
from .model import BATCH, EmbeddingModule, Layers, MlpModule, ScaleModule, make_model
from .wrapping import wrapped

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
        if side.meta:
            self.module.to("meta")
            self._tie()
        self.model: nn.Module = self.module
        _parallelize(self.module, side.parallelism)
        self.parameters = dict(self.module.named_parameters())
        self.optimizers = () if side.meta else _make_optimizers(training, self.parameters, loads=loads)
        for _ in range(side.steps):
            self._backward()
            self._step()
        if side.backward:
            self._backward()

    def materialised(self, like: LiveTraining) -> None:
        """Make what the load of a module on the meta device leaves to others; ``like`` has the other buffers."""
        self._tie()
        for module, other in zip(self.module.modules(), like.module.modules(), strict=True):
            for name, buffer in module.named_buffers(recurse=False):
                if buffer.is_meta:
                    setattr(module, name, other.get_buffer(name).clone())
        self.parameters = dict(self.module.named_parameters())
        self.optimizers = _make_optimizers(self.training, self.parameters, loads=True)

    def _tie(self) -> None:
        for module in self.module.modules():
            if isinstance(module, EmbeddingModule):
                module.tie()

    def evaluate(self) -> None:
        """A forward pass, as between two epochs: without gradients, and with no step after it."""
        self.module.eval()
        with torch.no_grad():
            self.module(self._batch())
        self.module.train()

    def wrap(self) -> None:
        """Wrap the module, and its layers, as DCP is to find them. They take no step after that."""
        self.model = wrapped(self.module, self.side)

    def reshard(self) -> None:
        """Free what ``fully_shard`` has gathered, so that the module has its sharded parameters again."""
        for module in self.module.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def _backward(self) -> None:
        self.module(self._batch()).square().sum().backward()
        for parameter in self.parameters.values():
            gradient = parameter.grad
            if isinstance(parameter, DTensor) and isinstance(gradient, DTensor):
                # DTensor hands some back replicated, as that of a bias of one element, and optimizers do not take them.
                parameter.grad = gradient.redistribute(placements=parameter.placements)

    def _step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()
        for parameter in self.parameters.values():
            parameter.grad = None

    def _batch(self) -> torch.Tensor:
        # The same on each rank, so that replicas stay equal without anybody's help.
        return torch.linspace(-1, 1, BATCH * self.training.width).reshape(BATCH, self.training.width)


def _parallelize(model: Layers, parallelism: Parallelism) -> None:
    mesh = _make_mesh(parallelism)
    if mesh is None:
        return
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


def _make_mesh(parallelism: Parallelism) -> DeviceMesh | None:
    """The mesh, without the dims that nothing is along; ``None`` where that is all of them."""
    sizes = {
        "replicas": parallelism.replicas if parallelism.replicas > 1 else 0,
        "data": parallelism.data,
        "tensor": parallelism.tensor,
    }
    names = tuple(name for name, size in sizes.items() if size)
    if names in ((), ("replicas",)):
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
    training: Training, parameters: dict[str, nn.Parameter], *, loads: bool
) -> tuple[torch.optim.Optimizer, ...]:
    asked = training.optimizer
    if asked is None:
        return ()
    options = {
        **own_options(asked, loads=loads),
        **variant_options(asked, loads=loads),
        **weight_decay(asked, loads=loads),
    }
    groups: list[dict[str, Any]] = [{"params": list(parameters.values())}]
    if asked.groups != "one":
        matrices = [parameter for parameter in parameters.values() if parameter.dim() > 1]
        others = [parameter for parameter in parameters.values() if parameter.dim() <= 1]
        groups = [{"params": matrices}, {"params": others}]
        if asked.groups == "matrices last":
            groups.reverse()
    for number, group in enumerate(groups):
        rate = learning_rate(number, loads=loads)
        group["lr"] = torch.tensor(rate) if asked.tensor_lr else rate
        if asked.scheduled:
            group["initial_lr"] = 2 * rate
    made = getattr(torch.optim, asked.kind)
    return tuple(made([group], **options) for group in groups) if asked.apart else (made(groups, **options),)
