"""A training as plain data: a module of layers, the optimizer, and how the ranks hold both at save and at load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..concise import Concise
from ..invalid import require
from .layers import (
    Again,
    Block,
    Counter,
    Layer,
    Norm,
    can_be_cut,
    check_again,
    has_two_groups,
    leaf_layers,
    stage_places,
)
from .optimizer import Optimizer, can_step
from .parallelism import Parallelism, can_train

__all__ = ["Calls", "Dtype", "Modifiers", "Side", "Training", "WrappedLayers", "WrappedWhole"]

Modifiers = Literal["_fqn_modifiers", "names_in_state_dict"]
"""The method of a module that tells how its state dict's names are other than where it has its parameters."""

Dtype = Literal["float32", "bfloat16"]
WrappedWhole = Literal["bare", "DDP", "compiled", "compiled DDP", "DDP compiled"]
"""What the module is wrapped in, the outermost first: DistributedDataParallel, or what torch.compile makes of it."""

WrappedLayers = Literal["bare", "compiled", "checkpointed"]
"""What each layer is wrapped in: what torch.compile makes of it, or the wrapper of activation checkpointing."""

Calls = Literal["together", "model first", "optimizer first"]
_NO_PARALLELISM = Parallelism()


@dataclass(frozen=True, repr=False)
class Side(Concise):
    """The training at save, or at load: its parallelism, and what is asked of ``get_state_dict``.

    ``steps`` is how many the optimizer has taken; with ``evaluated``, a forward pass without gradients came after them.
    ``full``, ``offload``, ``broadcast`` and ``strict`` are ``StateDictOptions``, and ``calls`` says whether the model's
    and the optimizer's state are asked for in one call or in two. With ``submodules``, those layers alone, by their
    places, are asked for of the model; of the optimizer all is, as torch documents it. With ``backward``, gradients are
    left of a backward pass that no step has followed; at load, only after steps, as torch documents it.
    ``whole`` and ``each`` are what DCP finds the module and its layers wrapped in; steps are taken before.
    With ``unasked``, the optimizer's state is read as ``load_sharded_optimizer_state_dict`` finds it in the checkpoint,
    and not into what ``get_state_dict`` gives; that is for FSDP's first version, at load.
    With ``meta``, what is loaded into has no memory before, and its optimizer is made when the model has been loaded.
    """

    _positional = 0

    parallelism: Parallelism = _NO_PARALLELISM
    steps: int = 0
    evaluated: bool = False
    calls: Calls = "together"
    full: bool = False
    offload: bool = False
    broadcast: bool = False
    strict: bool = True
    submodules: tuple[int, ...] = ()
    backward: bool = False
    whole: WrappedWhole = "bare"
    each: WrappedLayers = "bare"
    meta: bool = False
    unasked: bool = False

    def __post_init__(self) -> None:
        require(self.steps >= 0, f"a training cannot have taken {self.steps} steps")
        require(self.full or not self.broadcast, "broadcast_from_rank0 needs full_state_dict")
        shared = self.parallelism.data or self.parallelism.tensor
        require("DDP" not in self.whole or not shared, "DDP is for parameters of which each rank has the whole")
        self._check_meta()
        self._check_flat()
        self._check_stages()
        require(sorted(set(self.submodules)) == list(self.submodules), f"not in order: {self.submodules}")

    def _check_meta(self) -> None:
        new = not (self.steps or self.evaluated or self.backward or self.submodules)
        bare = self.whole == self.each == "bare"
        require((new and bare) or not self.meta, "what is on the meta device can do nothing yet, and takes all")
        require(self.full or not self.meta, "a state dict that is not full is copied into what is there")
        require(self.calls == "model first" or not self.meta, "the optimizer is made after the model")

    def _check_flat(self) -> None:
        plain = self.parallelism.flat and not self.full and not self.offload
        require(plain or not self.unasked, "load_sharded_optimizer_state_dict() is for shards of FSDP's first version")
        if not self.parallelism.flat:
            return
        require(self.whole == self.each == "bare", "what FSDP's first version wraps has no other wrapper here")
        require(not self.meta, "FSDP's first version gives what is on the meta device memory by itself")
        # Of torch 2.13: what is to be offloaded from the CPU it frees before it copies it.
        require(not (self.full and self.offload), "FSDP's first version cannot offload what is whole on the CPU")

    def _check_stages(self) -> None:
        if self.parallelism.stages > 1:
            require("DDP" not in self.whole, "DDP is for parameters that all ranks have")
            require(not self.full, "a full state dict is of what all ranks have")
            require(not self.submodules, "the submodules of a stage are those that it has")


_SGD = Optimizer()
_SAVED = Side(steps=1)
_LOADED = Side()


@dataclass(frozen=True, repr=False)
class Training(Concise):
    """A training that is saved, and loaded into another one of the same module and optimizer.

    ``width`` is the number of features between the layers. ``flatten`` and ``ignore_frozen`` are options of both sides,
    which else would not speak of the same keys; so is ``keep_prefixes``, without which the one submodule has the names
    of its own, and is given back by itself. ``modifiers`` is ``dsd_fqn_modifiers``, the name of a method of layers.
    With ``nested``, the submodule of a block is the first layer in it.
    With ``own``, the module has a parameter of its own, beside the layers. ``dtype`` is that of every parameter and
    buffer; an optimizer keeps some of its state in ``float32`` whatever that is. Without an ``optimizer`` there is no
    state but the model's, and a step changes no more than buffers.
    """

    _positional = 1

    layers: tuple[Layer, ...] = (Norm(),)
    width: int = 1
    optimizer: Optimizer | None = _SGD
    saved: Side = _SAVED
    loaded: Side = _LOADED
    flatten: bool = False
    ignore_frozen: bool = False
    api: Literal["save", "async"] = "save"
    keep_prefixes: bool = True
    modifiers: Modifiers = "_fqn_modifiers"
    own: bool = False
    nested: bool = False
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        leaves = list(leaf_layers(self.layers))
        uses = [layer.use for layer in leaves if not isinstance(layer, Counter)]
        require(self.width > 0, f"a width must be positive, not {self.width}")
        require("trained" in uses, "a training needs a layer that is trained")
        require(not self.saved.unasked, "what is not asked for cannot be saved")
        nested = self.optimizer is not None and not self.flatten
        require(
            nested or not self.loaded.unasked, "load_sharded_optimizer_state_dict() is for a nested optimizer state"
        )
        require(not self.saved.meta, "what is on the meta device cannot be saved")
        require(not (self.loaded.meta and self.ignore_frozen), "what is ignored would be left on the meta device")
        alone = self.loaded.full and self.loaded.offload and not self.loaded.broadcast
        require(not alone or self.loaded.parallelism.world_size == 1, "only rank 0 has what all ranks are to take over")
        for side in (self.saved, self.loaded):
            for layer in leaves:
                require(can_train(layer, side.parallelism), f"torch cannot train {layer} with {side.parallelism}")
            asked, parallelism = self.optimizer, side.parallelism
            steps = asked is None or can_step(asked, leaves, self.width, parallelism)
            require(steps, f"torch's {asked and asked.kind} takes no step with {parallelism}")
        left_out = self.ignore_frozen and "frozen" in uses
        require(not left_out or not self.loaded.strict, "keys that are left out at save are missing at a strict load")
        check_again(self.layers)
        require(not self.loaded.backward or self.loaded.steps > 0, "to load between backward() and step() is no use")
        apart = self.optimizer is not None and self.optimizer.apart
        require(not apart or has_two_groups(self.layers, own=self.own), "an optimizer without parameters has no group")
        flat = self.saved.parallelism.flat or self.loaded.parallelism.flat
        require(not (apart and flat), "FSDP's first version takes the optimizer that has all of a flat parameter")
        self._check_closure()
        self._check_submodules()
        self._check_stages()

    def _check_closure(self) -> None:
        if self.optimizer is not None and self.optimizer.kind == "LBFGS":
            require(not self.flatten, "what is flattened is of tensors and numbers, and LBFGS keeps lists")
            require(self.loaded.steps == 0, "LBFGS keeps longer lists with each step, and none fits another")

    def places_of(self, side: Side, rank: int) -> range:
        """The places of the layers that a rank has, which are those of its stage."""
        stages = side.parallelism.stages
        return stage_places(len(self.layers), stages)[rank * stages // side.parallelism.world_size]

    def _check_stages(self) -> None:
        if self.saved.parallelism.stages == self.loaded.parallelism.stages == 1:
            return
        asked = self.optimizer
        require(asked is None or self.flatten, "ranks with other parameters need flatten_optimizer_state_dict")
        require(asked is None or asked.groups == "one", "each stage has one group of parameters here")
        require(not self.own, "a parameter that is in no layer is of no stage")
        require(not any(isinstance(layer, Again) for layer in self.layers), "a layer that comes again is of one stage")
        for side in (self.saved, self.loaded):
            trains = can_be_cut(self.layers, side.parallelism.stages)
            require(trains, "each stage needs a layer that is trained")

    def asked_for(self, side: Side) -> frozenset[int]:
        """The places of the layers that a side asks for; all of those of one that comes again."""
        asked = side.submodules or range(len(self.layers))
        first = [layer.place if isinstance(layer, Again) else place for place, layer in enumerate(self.layers)]
        return frozenset(place for place in range(len(first)) if first[place] in {first[other] for other in asked})

    def _modules_asked_for(self, side: Side) -> set[int]:
        """The modules that a side asks for, each by the first of its places: with ``inside``, one is another."""
        layers = {place: self.layers[place] for place in side.submodules or range(len(self.layers))}
        return {
            layer.place if isinstance(layer, Again) and not layer.inside else place for place, layer in layers.items()
        }

    def is_asked_for(self, side: Side, path: tuple[int, ...]) -> bool:
        """Whether a side asks for what is at that path of places."""
        place, *within = path
        layer = self.layers[place]
        if isinstance(layer, Again):
            beside = within[1:] if layer.inside else within
            return self.is_asked_for(side, (layer.place, *beside))
        if place not in self.asked_for(side) or not (self.nested and isinstance(layer, Block)):
            return place in self.asked_for(side)
        inner = layer.layers[within[0]]
        return within[0] == 0 or (isinstance(inner, Again) and inner.place == 0)

    def _check_submodules(self) -> None:
        saved, loaded = self.saved.submodules, self.loaded.submodules
        there = range(len(self.layers))
        require({*saved, *loaded} <= {*there}, f"there are {len(there)} layers, and not those of {saved}, {loaded}")
        require(not saved or bool(loaded), "what is not asked for at save is missing at load")
        require(
            not saved or self._modules_asked_for(self.loaded) <= self._modules_asked_for(self.saved),
            "what is not asked for at save is missing at load",
        )
        require(not loaded or not self.loaded.strict, "a strict load takes all of the model")
        asked = [layer for place, layer in enumerate(self.layers) if place in {*saved, *loaded}]
        blocks = [layer for layer in asked if isinstance(layer, Block)]
        bare = self.saved.each == self.loaded.each == "bare" and not any(isinstance(layer, Again) for layer in asked)
        first = bool(blocks) and bare and all(layer.layers for layer in blocks)
        require(first or not self.nested, "there is no block of which the first layer could be asked for")
        one = len(loaded) == 1 and saved == loaded
        require(self.keep_prefixes or one, "without their prefixes, the names of two submodules may be the same")
