"""The modules of a training, with values that are a function of their names."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any

import torch
from torch import nn

from .case import Modifiers, Training
from .layers import Again, Block, Counter, Embedding, Layer, Mlp, Norm, Renamed, Scale

__all__ = [
    "BATCH",
    "EmbeddingModule",
    "ExtraCounterModule",
    "Layers",
    "MlpModule",
    "RenamedModule",
    "ScaleModule",
    "make_model",
    "value_of",
]

BATCH = 2
"""How many samples a forward pass has."""


class MlpModule(nn.Module):
    """See :class:`.case.Mlp`."""

    def __init__(self, layer: Mlp, width: int) -> None:
        super().__init__()
        # Without torch's own values, which would take from the generator that all ranks of a simulated world share.
        self.up = nn.utils.skip_init(nn.Linear, width, layer.hidden, bias=layer.bias)
        self.down = nn.utils.skip_init(nn.Linear, layer.hidden, width, bias=layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.tanh(self.up(x)))  # type: ignore[no-any-return]


class EmbeddingModule(nn.Module):
    """See :class:`.case.Embedding`."""

    def __init__(self, layer: Embedding, width: int) -> None:
        super().__init__()
        self.tied = layer.tied
        self.rows = layer.rows
        self.tokens = nn.utils.skip_init(nn.Embedding, layer.rows, width)
        self.head = nn.utils.skip_init(nn.Linear, width, layer.rows, bias=False)
        self.tie()

    def tie(self) -> None:
        """Make the two weights one parameter, if they are to be; again, after tensor parallelism has replaced both."""
        if self.tied:
            self.head.weight = self.tokens.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.tokens(torch.arange(BATCH) % self.rows)
        return x + self.head(x).mean(-1, keepdim=True)  # type: ignore[no-any-return]


class ScaleModule(nn.Module):
    """See :class:`.case.Scale`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


class RenamedModule(nn.Module):
    """See :class:`.case.Renamed`."""

    def __init__(self, width: int, modifiers: Modifiers) -> None:
        super().__init__()
        self.inner = nn.LayerNorm(width)
        setattr(self, modifiers, lambda: dict.fromkeys(_INNER, "inner"))
        self._register_state_dict_hook(_leave_out_inner)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_put_inner_back)  # type: ignore[no-untyped-call]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)  # type: ignore[no-any-return]


_INNER = ("weight", "bias")


def _leave_out_inner(module: nn.Module, state: MutableMapping[str, Any], prefix: str, _: Mapping[str, Any]) -> None:
    for name in _INNER:
        state[f"{prefix}{name}"] = state.pop(f"{prefix}inner.{name}")


def _put_inner_back(module: nn.Module, state: MutableMapping[str, Any], prefix: str, *_: object) -> None:
    for name in _INNER:
        if f"{prefix}{name}" in state:
            state[f"{prefix}inner.{name}"] = state.pop(f"{prefix}{name}")


class CounterModule(nn.Module):
    """See :class:`.case.Counter`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scratch", torch.zeros(width), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            for buffer in (self.mean, self.scratch):
                buffer.mul_(0.5).add_(x.detach().mean(0))  # type: ignore[operator]
        return x


class ExtraCounterModule(CounterModule):
    """One with an object in its state dict."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.count = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += self.training
        return super().forward(x)

    def get_extra_state(self) -> Any:
        return {"count": self.count}

    def set_extra_state(self, state: Any) -> None:
        self.count = state["count"]


class Layers(nn.Sequential):
    """Layers one after the other, but for those that no forward pass uses."""

    def __init__(self, layers: tuple[Layer, ...], width: int, modifiers: Modifiers) -> None:
        super().__init__()
        for layer in layers:
            self.append(self._again(layer) if isinstance(layer, Again) else _make_layer(layer, width, modifiers))
        firsts = [layers[layer.place] if isinstance(layer, Again) else layer for layer in layers]
        self.used = [getattr(layer, "use", "trained") != "unused" for layer in firsts]

    def _again(self, layer: Again) -> nn.Module:
        first = self[layer.place]
        return Within(first) if layer.inside else first

    def keep(self, places: Collection[int]) -> None:
        """Have the layers at those places alone, which stay where they are."""
        for place in range(len(self)):
            if place not in places:
                delattr(self, str(place))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for place, module in self._modules.items():
            x = module(x) if module is not None and self.used[int(place)] else x
        return x


class Within(nn.Sequential):
    """Another parent of a module that the one beside it is, or has, too: see :class:`.case.Again`."""


class LayersAndParameter(Layers):
    """Layers, and a parameter that is in none of them, so that there is no dot in its name."""

    def __init__(self, layers: tuple[Layer, ...], width: int, modifiers: Modifiers) -> None:
        super().__init__(layers, width, modifiers)
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.shift


def make_model(training: Training) -> Layers:
    """The module, before any parallelism: the same in each process."""
    kind = LayersAndParameter if training.own else Layers
    model = kind(training.layers, training.width, training.modifiers)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            tensor.copy_(value_of(name, tuple(tensor.shape)))
    return model.to(getattr(torch, training.dtype))


def value_of(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Values between 0.5 and 1.5, most of them different, of a tensor of that name."""
    index = torch.arange(math.prod(shape), dtype=torch.int64) + zlib.crc32(name.encode())
    return (0.5 + index * 7919 % 1009 / 1009).to(torch.float32).reshape(shape)


def _make_layer(layer: Layer, width: int, modifiers: Modifiers) -> nn.Module:
    module: nn.Module
    match layer:
        case Block(layers):
            return Layers(layers, width, modifiers)
        case Again():
            raise AssertionError("it is made already")
        case Counter(extra):
            return ExtraCounterModule(width) if extra else CounterModule(width)
        case Mlp():
            module = MlpModule(layer, width)
        case Embedding():
            module = EmbeddingModule(layer, width)
        case Norm():
            module = nn.LayerNorm(width)
        case Renamed():
            module = RenamedModule(width, modifiers)
        case Scale():
            module = ScaleModule()
    return module.requires_grad_(layer.use != "frozen")
