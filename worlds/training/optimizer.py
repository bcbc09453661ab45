"""An optimizer as plain data, and with which modules and parallelisms torch lets it take a step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from ..concise import Concise
from ..invalid import require
from .layers import Embedding, Layer, Mlp, rows_of
from .parallelism import Parallelism

__all__ = ["WITHOUT_DECAY", "WITHOUT_DTENSOR", "Kind", "Optimizer", "can_step"]

Kind = Literal[
    "SGD",
    "Adam",
    "AdamW",
    "Adagrad",
    "NAdam",
    "RMSprop",
    "Adadelta",
    "Adamax",
    "ASGD",
    "RAdam",
    "Rprop",
    "Adafactor",
    "Muon",
    "LBFGS",
]
"""All of ``torch.optim`` but SparseAdam, which takes sparse gradients alone."""

WITHOUT_DECAY: tuple[Kind, ...] = ("Rprop", "LBFGS")
WITHOUT_DTENSOR: tuple[Kind, ...] = ("Rprop", "Adafactor", "LBFGS")
"""Those with operations that a ``DTensor`` does not have."""


@dataclass(frozen=True, repr=False)
class Optimizer(Concise):
    """An optimizer of ``torch.optim``; its hyperparameters at load are others than those at save.

    ``variant`` is what its kind offers: momentum (SGD, RMSprop), amsgrad (Adam, AdamW), decoupled weight decay
    (NAdam, RAdam). ``groups`` says how the parameters are grouped: all in one, or those of two dims apart from the
    others, which often are to have no weight decay; a group may be empty then. ``tensor_lr`` makes the learning rates
    tensors, and ``scheduled`` leaves in each group the ``initial_lr`` of a scheduler. With ``apart``, each group has
    an optimizer of its own. Muon takes matrices alone, so that the others have one of another kind beside it, AdamW.
    """

    kind: Kind = "SGD"
    variant: bool = False
    decay: bool = False
    groups: Literal["one", "matrices first", "matrices last"] = "one"
    tensor_lr: bool = False
    scheduled: bool = False
    apart: bool = False

    def __post_init__(self) -> None:
        require(self.groups != "one" or not self.apart, "two optimizers need two groups of parameters")
        require(self.kind != "Muon" or self.apart, "Muon takes matrices alone, and needs another optimizer beside it")
        require(self.kind not in WITHOUT_DECAY or not self.decay, f"{self.kind} has no weight decay")
        require(self.kind != "LBFGS" or self.groups == "one", "LBFGS takes one group of parameters")

    @property
    def of_others(self) -> Optimizer:
        """What takes the parameters that are no matrices, where each group has an optimizer of its own."""
        return replace(self, kind="AdamW") if self.kind == "Muon" else self


def can_step(optimizer: Optimizer, layers: Iterable[Layer], width: int, parallelism: Parallelism) -> bool:
    """Whether torch 2.13 lets the optimizer take a step with layers that are no blocks, shared so by the ranks.

    Muon uses operations that a ``DTensor`` has only where no shard is empty. Muon and Adafactor tell matrices from the
    rest, which FSDP's first version has made flat, and the state of LBFGS is of all parameters together, of which each
    rank would have one of its own there.
    """
    shards = max(1, parallelism.data) * max(1, parallelism.tensor)
    shared = parallelism.data > 0 or parallelism.tensor > 0
    if optimizer.kind in WITHOUT_DTENSOR:
        return not shared or (parallelism.flat and optimizer.kind == "Rprop")
    if optimizer.kind == "Muon":
        rows = [rows_of(layer) for layer in layers if isinstance(layer, Mlp | Embedding)]
        return not parallelism.flat and (not shared or min((width, *rows)) >= shards)
    return True
