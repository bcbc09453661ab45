"""The layers of a module as plain data: what a training, see :mod:`.case`, is of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..concise import Concise
from ..invalid import require

__all__ = [
    "Again",
    "Block",
    "Counter",
    "Embedding",
    "Layer",
    "Mlp",
    "Norm",
    "Renamed",
    "Scale",
    "Use",
    "can_be_cut",
    "check_again",
    "has_two_groups",
    "leaf_layers",
    "rows_of",
    "stage_places",
]

Use = Literal["trained", "frozen", "unused"]
"""Whether a layer's parameters get gradients: ``frozen`` ones ask for none, ``unused`` ones are in no forward pass."""


@dataclass(frozen=True, repr=False)
class Mlp(Concise):
    """Two linear modules: ``up`` to ``hidden`` features and ``down`` again.

    Tensor parallelism cuts ``up`` by columns and ``down`` by rows.
    """

    hidden: int = 1
    bias: bool = False
    use: Use = "trained"

    def __post_init__(self) -> None:
        require(self.hidden > 0, f"an Mlp needs hidden features, not {self.hidden}")


@dataclass(frozen=True, repr=False)
class Norm(Concise):
    """A ``LayerNorm``; tensor parallelism leaves it as it is."""

    use: Use = "trained"


@dataclass(frozen=True, repr=False)
class Renamed(Concise):
    """A ``LayerNorm`` in a module whose hooks leave the name of what is in it out of the names in the state dict.

    A method of the module, of the name that ``Training.modifiers`` says, tells DCP of it.
    """

    use: Use = "trained"


@dataclass(frozen=True, repr=False)
class Scale(Concise):
    """A 0-d parameter, which ``fully_shard`` is told to ignore, since it takes none."""

    use: Use = "trained"


@dataclass(frozen=True, repr=False)
class Embedding(Concise):
    """An embedding of ``rows`` tokens, and the linear ``head`` back to them, whose weight may be the same parameter.

    Tensor parallelism cuts both by their rows.
    """

    rows: int = 1
    tied: bool = False
    use: Use = "trained"

    def __post_init__(self) -> None:
        require(self.rows > 0, f"an Embedding needs rows, not {self.rows}")


@dataclass(frozen=True, repr=False)
class Counter(Concise):
    """No parameter, but a buffer that each forward pass of the training changes, and one that is not persistent.

    With ``extra``, an object too, by ``get_extra_state``.
    """

    _positional = 0

    extra: bool = False


@dataclass(frozen=True, repr=False)
class Again(Concise):
    """The layer at that place among those beside it, once more: one module by two names.

    With ``inside``, in a module of its own, so that it has two parents: what lists the children of a module leaves out
    one that the same parent has twice.
    """

    place: int = 0
    inside: bool = False

    def __post_init__(self) -> None:
        require(self.place >= 0, f"there is no layer {self.place}")


@dataclass(frozen=True, repr=False)
class Block(Concise):
    """Layers in a module of their own."""

    layers: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        check_again(self.layers)


Layer = Mlp | Norm | Renamed | Scale | Embedding | Counter | Again | Block


def check_again(layers: tuple[Layer, ...]) -> None:
    """Raise ``InvalidScenario`` where a layer comes again that does not come before."""
    for number, layer in enumerate(layers):
        if isinstance(layer, Again):
            first = layers[: layer.place + 1][-1]
            require(layer.place < number and not isinstance(first, Again), f"there is no layer for {layer}")


def stage_places(count: int, stages: int) -> list[range]:
    """The places of the layers, ``count`` in all, that each stage of a pipeline has."""
    return [range(count * stage // stages, count * (stage + 1) // stages) for stage in range(stages)]


def can_be_cut(layers: tuple[Layer, ...], stages: int) -> bool:
    """Whether each of so many stages gets a layer that is trained."""
    of_each = [leaf_layers(layers[places.start : places.stop]) for places in stage_places(len(layers), stages)]
    return all(any(not isinstance(leaf, Counter) and leaf.use == "trained" for leaf in leaves) for leaves in of_each)


def leaf_layers(layers: tuple[Layer, ...]) -> Iterator[Mlp | Norm | Renamed | Scale | Embedding | Counter]:
    """The layers that are no blocks, wherever they are, each once."""
    for layer in layers:
        if isinstance(layer, Block):
            yield from leaf_layers(layer.layers)
        elif not isinstance(layer, Again):
            yield layer


def rows_of(layer: Mlp | Embedding) -> int:
    """How many rows its matrices have, or columns, along which they are not of the width of the module."""
    return layer.rows if isinstance(layer, Embedding) else layer.hidden


def has_two_groups(layers: tuple[Layer, ...], *, own: bool) -> bool:
    """Whether there are parameters of two dims, and others."""
    leaves = list(leaf_layers(layers))
    matrices = any(isinstance(layer, Mlp | Embedding) for layer in leaves)
    others = any(isinstance(layer, Norm | Renamed | Scale) or getattr(layer, "bias", False) for layer in leaves)
    return matrices and (others or own)
