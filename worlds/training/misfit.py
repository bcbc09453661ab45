"""A state dict, or an option, that does not fit the training that it is given to, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from ..concise import Concise
from ..invalid import require
from .case import Side, Training
from .layers import Again, Block, Counter, Layer, Mlp, Norm, Renamed, leaf_layers
from .optimizer import Optimizer

__all__ = [
    "AT_ONCE",
    "BY_EACH",
    "OF_MODEL",
    "OF_NESTED",
    "OF_OPTIMIZER",
    "OF_OPTIONS",
    "OF_STATE",
    "ONE_ROW",
    "Kind",
    "Misfit",
    "has_several_rows",
    "keeps_state",
    "kinds_of",
    "may_differ",
]

Kind = Literal[
    "model key missing",
    "model key too many",
    "model tensor of more rows",
    "model tensor of one row",
    "object for a model tensor",
    "list for the model's state",
    "model's state of another module",
    "state of a parameter missing",
    "state of a parameter in part",
    "state of no parameter",
    "state of more rows",
    "object for a state",
    "no state",
    "no param_groups",
    "no groups",
    "hyperparameter missing",
    "parameter missing in a group",
    "parameter too many in a group",
    "parameter ids for names",
    "list for the optimizer's state",
    "state of another optimizer",
    "optimizer of another model",
    "broadcast without full",
    "modifiers that are no method",
    "dict for options",
]
"""What is wrong.

Of the model's state dict: a key that is missing, one too many, a tensor of twice as many rows, or of the first of them
alone, a number in the place of one, a list in the place of the state dict, and the state dict by a module that is not
in the model.

Of the optimizer's: the state of a parameter that is missing, in whole or in part, that of a parameter that is not
there, a tensor of twice as many rows, a number in the place of one; no ``"state"``, no ``"param_groups"``, or no group
in them; in a group a hyperparameter that is missing, a parameter that is, and one too many; the numbers that
``Optimizer.state_dict`` has in the place of names; a list in the place of the state dict, and the state dict of another
kind of optimizer. Where the optimizer's state dict is flattened, all its keys that say that are missing, or are others.

And what is not of a state dict: an optimizer whose parameters are not the model's, and as options
``broadcast_from_rank0`` without ``full_state_dict``, a ``dsd_fqn_modifiers`` that names no method, and a dict.
"""

OF_MODEL: tuple[Kind, ...] = get_args(Kind)[:7]
"""What is wrong with the model's state dict."""

OF_STATE: tuple[Kind, ...] = get_args(Kind)[7:13]
"""What takes an optimizer that keeps state."""

OF_OPTIMIZER: tuple[Kind, ...] = get_args(Kind)[7:22]
"""What is wrong with the optimizer's state dict, or with the optimizer."""

OF_OPTIONS: tuple[Kind, ...] = get_args(Kind)[22:]
"""What is wrong with the options."""

OF_NESTED: tuple[Kind, ...] = (
    "no groups",
    "parameter missing in a group",
    "parameter too many in a group",
    "parameter ids for names",
)
"""What a flattened state dict cannot have."""

BY_EACH: tuple[Kind, ...] = (*OF_OPTIONS, "optimizer of another model")
"""What each rank gives by itself, where rank 0 alone has the state dict."""

AT_ONCE: tuple[Kind, ...] = (
    *BY_EACH,
    "list for the model's state",
    "model's state of another module",
    "no state",
    "no param_groups",
    "list for the optimizer's state",
)
"""What is seen before ranks talk to each other. Else, ranks that are given other things take part in other collectives,
and what comes of that is for the back end to say."""

ONE_ROW: Kind = "model tensor of one row"
"""What takes a tensor of several rows."""

_OF_WIDTH = (Norm, Mlp, Renamed, Counter)
_SIDE = Side()
_KEPT = ("parallelism", "steps", "calls", "full", "broadcast", "strict", "whole")


def keeps_state(optimizer: Optimizer | None) -> bool:
    """Whether the optimizer has more than hyperparameters."""
    return optimizer is not None and (optimizer.kind != "SGD" or optimizer.variant)


def has_several_rows(layers: tuple[Layer, ...], width: int) -> bool:
    """Whether there is a tensor of as many rows as there are features, and of more than one."""
    return width > 1 and any(isinstance(layer, _OF_WIDTH) for layer in leaf_layers(layers))


def may_differ(kind: Kind, side: Side) -> bool:
    """Whether ranks that share a training so may be given other things: they would not talk to each other of it."""
    return kind in AT_ONCE or not (side.full or side.parallelism.flat)


def kinds_of(optimizer: Optimizer | None, *, flatten: bool, broadcast: bool) -> tuple[Kind, ...]:
    """What can be wrong where there is that optimizer, and its state dict is flattened or not."""
    found = [*OF_MODEL]
    if optimizer is not None:
        found += [kind for kind in OF_OPTIMIZER if keeps_state(optimizer) or kind not in OF_STATE]
    if flatten:
        found = [kind for kind in found if kind not in OF_NESTED]
    return (*found, *(kind for kind in OF_OPTIONS if not (broadcast and kind == "broadcast without full")))


@dataclass(frozen=True, repr=False)
class Misfit(Concise):
    """A training that is given what does not fit it, and then what does.

    What is wrong is of a ``kind``, and given by ``ranks``, or by all for ``()``; the others give what is right. Where
    the state dict is broadcast, rank 0 alone has one. ``side`` is how the ranks hold the training: of ``calls``, the
    one that takes what is wrong is made, or, if ``"together"``, ``set_state_dict``. Of the keys, or parameters, that
    the wrong one can be, it is the first, or else the ``last``.
    """

    kind: Kind = "model key missing"
    layers: tuple[Layer, ...] = (Norm(),)
    optimizer: Optimizer | None = None
    side: Side = _SIDE
    ranks: tuple[int, ...] = ()
    width: int = 1
    flatten: bool = False
    last: bool = False

    def __post_init__(self) -> None:
        side, size = self.side, self.side.parallelism.world_size
        kinds = kinds_of(self.optimizer, flatten=self.flatten, broadcast=side.broadcast)
        require(self.kind in kinds, f"{self.kind!r} cannot be here")
        require(replace(_SIDE, **{name: getattr(side, name) for name in _KEPT}) == side, f"{side!r} has more than here")
        require(side.calls != "optimizer first", "one call is made")
        require(side.parallelism.stages == 1, "all ranks have the whole model here")
        alone = self.optimizer is None or not self.optimizer.apart
        require(alone, "there is one optimizer")
        # Of torch 2.13: FSDP's first version mixes up what it is to flatten.
        require(not (side.parallelism.flat and self.flatten), "FSDP's first version has a nested optimizer state here")
        require(self.ranks == tuple(sorted(set(self.ranks))), f"ranks are not in order: {self.ranks}")
        require(all(0 <= rank < size for rank in self.ranks), f"a rank is not among {size}: {self.ranks}")
        require(len(self.ranks) < size, "all ranks are those of ()")
        require(not self.ranks or not side.broadcast or self.kind in BY_EACH, "rank 0 alone has the state dict")
        apart = side.broadcast or may_differ(self.kind, side)
        require(not self.ranks or apart, "ranks would take part in other collectives")
        rows = has_several_rows(self.layers, self.width)
        require(rows or self.kind != ONE_ROW, "there is no tensor of several rows")
        uses = [getattr(layer, "use", "trained") for layer in leaf_layers(self.layers)]
        require(set(uses) == {"trained"}, "all is trained here")
        require(not any(isinstance(layer, Again) for layer in _all(self.layers)), "a layer has one name here")
        _ = self.training  # which checks the rest

    @property
    def part(self) -> Literal["model", "optim"]:
        """Of which call it is, where there are two: that on the model, unless it is about the optimizer."""
        return "optim" if self.kind in OF_OPTIMIZER else "model"

    @property
    def is_broadcast(self) -> bool:
        """Whether rank 0 alone has what is wrong, and all take part in it."""
        return self.side.broadcast and self.kind not in BY_EACH

    @property
    def wrong(self) -> tuple[int, ...]:
        """The ranks that give what is wrong."""
        if self.is_broadcast:
            return (0,)
        return self.ranks or tuple(range(self.side.parallelism.world_size))

    @property
    def alike(self) -> tuple[int, ...]:
        """The ranks that are to be told: those, or, where it is broadcast, all."""
        return tuple(range(self.side.parallelism.world_size)) if self.is_broadcast else self.wrong

    @property
    def training(self) -> Training:
        """The training; what is right is of one that has taken two steps."""
        side = self.side
        saved = Side(parallelism=side.parallelism, steps=2, full=side.full, whole=side.whole)
        return Training(self.layers, self.width, self.optimizer, saved, side, flatten=self.flatten)


def _all(layers: tuple[Layer, ...]) -> list[Layer]:
    within = (inner for layer in layers if isinstance(layer, Block) for inner in _all(layer.layers))
    return [*layers, *within]
