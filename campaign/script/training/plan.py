"""What the script of a training has to do, worked out of a breach before anything is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from properties.training import TrainingBreach, TrainingIssue, find_training_issue
from properties.violations import (
    ChangedInput,
    Deadlock,
    NotLoaded,
    UnexpectedFailure,
    WrongBits,
    WrongKeys,
    WrongObject,
    WrongTensor,
)
from worlds.training import Again, Counter, Mlp, Saved, Scale, Side, Training
from worlds.training.layers import leaf_layers

from ..known import CannotWrite

__all__ = ["SideName", "TrainingPlan"]

SideName = Literal["save", "load"]
Part = Literal["model", "state", "groups"]

_TENSORS = (NotLoaded, WrongBits)
_CONTENT = (ChangedInput, WrongKeys, WrongObject, *_TENSORS)


@dataclass(frozen=True)
class TrainingPlan:
    """A breach, and what follows from it for the script; a :class:`campaign.script.processes.Job`."""

    breach: TrainingBreach

    @property
    def training(self) -> Training:
        """What is saved, and loaded."""
        return self.breach.training

    @property
    def issue(self) -> TrainingIssue | None:
        """The ledger's entry, where there is one."""
        return find_training_issue(self.breach)

    def side(self, name: SideName) -> Side:
        """The training as it is saved, or loaded into."""
        return self.training.saved if name == "save" else self.training.loaded

    @property
    def names(self) -> tuple[SideName, ...]:
        """The sides that the script has, in their order."""
        return ("save",) if self.breach.side == "save" else ("save", "load")

    @property
    def sides(self) -> list[Side]:
        """Those themselves."""
        return [self.side(name) for name in self.names]

    @property
    def compared(self) -> Part | None:
        """What the script compares of a training, if it compares anything: the part that ``breach.name`` is of."""
        if (self.breach.kind not in _CONTENT and not self.is_cast) or self.loses:
            return None
        if self.breach.name.startswith("model."):
            return "model"
        return "groups" if self.breach.name.startswith("optim.param_groups.") else "state"

    @property
    def is_cast(self) -> bool:
        """Whether it is about a tensor that has another dtype, and is the same in all else."""
        was, now = self.breach.expected.split(" "), self.breach.seen.split(" ")
        return self.breach.kind is WrongTensor and was[0] != now[0] and was[1:] == now[1:]

    @property
    def changes(self) -> bool:
        """Whether it is about what a save has changed."""
        return self.breach.kind is ChangedInput and not self.loses

    @property
    def loses(self) -> bool:
        """Whether it is about names that have gone from the state dict that was given to be loaded."""
        return self.breach.name.startswith("given.")

    @property
    def is_left_out(self) -> bool:
        """Whether it is about a parameter that the checkpoint is not to have, and the load to leave as it was."""
        target = self.breach.target()
        held = None if target is None else dict(target.before.tensors).get(self.breach.name)
        return held is not None and held.frozen and self.training.ignore_frozen

    @property
    def fills(self) -> bool:
        """Whether the training to load into must hold what was never saved, so that it shows what was loaded."""
        return self.breach.kind in _TENSORS

    @property
    def optimizers(self) -> str:
        """The optimizers, as the script gives them to DCP."""
        asked = self.training.optimizer
        return "()" if asked is None else "optimizers" if asked.apart else "optimizer"

    @property
    def given(self) -> str:
        """The training, as the script gives it to its functions."""
        return "model" if self.training.optimizer is None else f"model, {self.optimizers}"

    @property
    def may_be_empty(self) -> bool:
        """Whether it is about state of an optimizer that has nothing in it."""
        return self.compared == "state" and self.breach.seen == "{}"

    @property
    def ranks(self) -> int:
        """How many ranks the script needs: those of the larger side.

        Where the other one has no mesh, all of them have the whole training there, as its ranks have.
        """
        return max(side.parallelism.world_size for side in self.sides)

    def has_mesh(self, name: SideName) -> bool:
        """Whether the training is parallelised there, by more than copies."""
        parallelism = self.side(name).parallelism
        return bool(parallelism.data or parallelism.tensor) or parallelism.stages > 1

    @property
    def is_flat(self) -> bool:
        """Whether FSDP's first version shards a side."""
        return any(side.parallelism.flat for side in self.sides)

    def is_partial(self, name: SideName) -> bool:
        """Whether only the first ranks take part in a side: those of its mesh."""
        return self.has_mesh(name) and self.side(name).parallelism.world_size < self.ranks

    @property
    def has_group(self) -> bool:
        """Whether the script needs a process group."""
        broadcasts = any(side.broadcast for side in self.sides)
        wrapped = any("DDP" in side.whole for side in self.sides)
        return (
            self.ranks > 1 or broadcasts or wrapped or self.on_meta or any(self.has_mesh(name) for name in self.names)
        )

    @property
    def leaves_group(self) -> bool:
        """Never, before it ends."""
        return False

    @property
    def holds_group(self) -> bool:
        """It does not: a ``DTensor`` knows its groups by name."""
        return False

    @property
    def compares_outcome(self) -> bool:
        """An exception ends the script, and need not be caught."""
        return False

    @property
    def raises(self) -> bool:
        """Whether a call does."""
        return self.breach.kind is UnexpectedFailure

    @property
    def hangs(self) -> bool:
        """Whether ranks wait for ever."""
        return self.breach.kind is Deadlock

    @property
    def on_meta(self) -> bool:
        """Whether what is loaded into is on the meta device first."""
        return self.training.loaded.meta and self.breach.side == "load"

    @property
    def stays_on_meta(self) -> bool:
        """Whether it is about what stays there."""
        return self.on_meta and self.breach.kind is WrongTensor and self.breach.seen.endswith(" on the meta device")

    def check(self) -> None:
        """Raise :class:`CannotWrite` for what the script would not show."""
        if self.on_meta and not self.stays_on_meta:
            raise CannotWrite("there is no script for what is not right after it was on the meta device yet")
        if self.stays_on_meta:
            self._check_ranks()
            return
        if self.breach.kind not in (UnexpectedFailure, Deadlock, *_CONTENT) and not self.is_cast:
            raise CannotWrite(f"there is no script for a training that ends in {self.breach.kind.__name__} yet")
        self._check_ranks()
        self._check_layers()
        self._check_flat()
        self._check_stages()
        if self.compared is not None:
            self._check_compared()

    def _check_ranks(self) -> None:
        for name in self.names:
            side = self.side(name)
            if side.parallelism.world_size == self.ranks:
                continue
            if side.broadcast or (name == "load" and side.full and side.offload):
                raise CannotWrite("there is no script for fewer ranks at load, of which rank 0 has what is loaded, yet")
            if self.is_partial(name) and self.hangs:
                raise CannotWrite("there is no script for a training that hangs and that only some ranks share yet")

    def _check_flat(self) -> None:
        """For FSDP's first version, whose parameters are views of one dim, with names of their own."""
        if not self.is_flat:
            return
        optimizer = self.training.optimizer
        if any(isinstance(layer, Again) for layer in self.training.layers):
            raise CannotWrite("there is no script for a layer that comes again in FSDP's first version yet")
        if optimizer is not None and optimizer.groups != "one":
            raise CannotWrite("there is no script for groups of parameters in FSDP's first version yet")
        if any(side.submodules for side in self.sides):
            raise CannotWrite("there is no script for submodules in FSDP's first version yet")
        if any(side.unasked and side.parallelism.world_size < self.ranks for side in self.sides):
            raise CannotWrite("there is no script for load_sharded_optimizer_state_dict() by some of the ranks yet")
        alike = len({side.parallelism for side in self.sides}) == 1
        if self.is_left_out or (self.compared == "state" and not alike):
            raise CannotWrite("there is no script that compares what FSDP's first version shards otherwise yet")

    def _check_stages(self) -> None:
        staged = [side.parallelism for side in self.sides if side.parallelism.stages > 1]
        named = any(isinstance(layer, Scale | Counter) for layer in leaf_layers(self.training.layers))
        if any(parallelism.tensor or (parallelism.data and named) for parallelism in staged):
            raise CannotWrite(
                "there is no script for stages of a pipeline that are sharded by the places of layers yet"
            )
        if staged and self.compared is not None and len({side.parallelism for side in self.sides}) > 1:
            raise CannotWrite("there is no script that compares what is in other stages at load yet")

    def _check_layers(self) -> None:
        leaves = list(leaf_layers(self.training.layers))
        unused = any(not isinstance(layer, Counter) and layer.use == "unused" for layer in leaves)
        if unused and any(side.parallelism.wrapped for side in self.sides):
            raise CannotWrite("there is no script for layers without a forward pass that are wrapped yet")
        # Then DTensor hands gradients back replicated, and optimizers do not take them.
        hidden = min((layer.hidden for layer in leaves if isinstance(layer, Mlp)), default=math.inf)
        if any(side.steps and side.parallelism.tensor > hidden for side in self.sides):
            raise CannotWrite("there is no script for steps with less than a row for each rank yet")

    def _check_compared(self) -> None:
        breach, loaded = self.breach, self.training.loaded
        if breach.name.startswith("grad.") or breach.name.endswith((".params", ".scratch")):
            raise CannotWrite(f"there is no script that compares {breach.name} yet")
        if self.compared != "model" and self.training.optimizer is not None and self.training.optimizer.apart:
            raise CannotWrite("there is no script that compares several optimizers yet")
        if self.training.api == "async" and breach.side == "load":
            raise CannotWrite("there is no script that compares what was saved by async_save() yet")
        if self.fills and (loaded.full or loaded.offload):
            raise CannotWrite("there is no script that compares tensors that were loaded into copies yet")
        if self.compared == "model" and loaded.submodules:
            raise CannotWrite("there is no script that compares parameters beside those that are not asked for yet")
        if self.compared == "model" and self._keeps_some and not self.is_left_out:
            raise CannotWrite("there is no script that compares parameters beside those that are ignored yet")

    @property
    def _keeps_some(self) -> bool:
        ranks = [rank for rank in self.breach.outcome.saved if isinstance(rank, Saved)]
        frozen = any(tensor.frozen for rank in ranks for _, tensor in rank.after.tensors)
        return self.training.ignore_frozen and frozen
