"""What a training has that matters, by name; see :mod:`strategies.features`."""

from __future__ import annotations

from collections.abc import Iterator

from worlds.training import Again, Block, Counter, Embedding, Mlp, Optimizer, Parallelism, Side, Training
from worlds.training.layers import leaf_layers

__all__ = ["TRAINING_FEATURES", "training_features"]

_MESHES = (
    "one rank",
    "replicas",
    "data",
    "tensor",
    "data × tensor",
    "replicas × data",
    "replicas × tensor",
    "replicas × data × tensor",
)
_OF_BOTH_SIDES = (
    *_MESHES,
    "stages of a pipeline",
    "FSDP's first version",
    "FSDP's first version, with replicas",
    "wrapped",
    "0 steps",
    "1 step",
    "gradients",
    "evaluated",
    "together",
    "model first",
    "optimizer first",
    "full_state_dict",
    "cpu_offload",
    "broadcast_from_rank0",
    *(f"whole: {wrapper}" for wrapper in ("DDP", "compiled", "compiled DDP", "DDP compiled")),
    *(f"layers: {wrapper}" for wrapper in ("compiled", "checkpointed")),
)
_VARIED = ("SGD", "Adam", "AdamW", "NAdam", "RMSprop", "RAdam")

TRAINING_FEATURES: dict[str, tuple[str, ...]] = {
    "training, module": (
        *(
            "Mlp",
            "Norm",
            "Renamed",
            "Scale",
            "Embedding",
            "Counter",
            "block",
            "again",
            "again, in a module of its own",
            "own parameter",
            "bfloat16",
            "trained",
            "frozen",
            "unused",
        ),
        *("tied", "bias", "buffer", "extra state", "uneven rows"),
    ),
    "training, optimizer": (
        *(f"{kind}{variant}" for kind in _VARIED for variant in ("", ", variant")),
        *(
            "Adagrad",
            "Adadelta",
            "Adamax",
            "ASGD",
            "Rprop",
            "Adafactor",
            "Muon",
            "LBFGS",
            "one group",
            "matrices first",
            "matrices last",
            "weight decay",
            "lr in a tensor",
            "scheduled",
            "two optimizers",
            "none",
        ),
    ),
    "training, at save": (*_OF_BOTH_SIDES, "2 steps", "save", "async_save"),
    "training, at load": (
        *_OF_BOTH_SIDES,
        *("another parallelism", "strict=False", "meta device", "load_sharded_optimizer_state_dict"),
        *("flatten_optimizer_state_dict", "ignore_frozen_params", "submodules", "submodules, at load alone"),
        *("keep_submodule_prefixes=False", "nested submodule", "dsd_fqn_modifiers"),
    ),
}
"""Every feature of a training, by group; what both sides must have alike is counted at load."""


def training_features(training: Training) -> frozenset[tuple[str, str]]:
    """The features of a training, each with its group, as :data:`TRAINING_FEATURES` lists them."""
    groups = {
        "training, module": _of_module(training),
        "training, optimizer": _of_optimizer(training.optimizer),
        "training, at save": _of_save(training),
        "training, at load": _of_load(training),
    }
    return frozenset((group, name) for group, names in groups.items() for name in names)


def _of_module(training: Training) -> Iterator[str]:
    for layer in leaf_layers(training.layers):
        yield type(layer).__name__
        if isinstance(layer, Counter):
            yield "extra state" if layer.extra else "buffer"
        else:
            yield layer.use
        if isinstance(layer, Embedding) and layer.tied:
            yield "tied"
        if isinstance(layer, Mlp) and layer.bias:
            yield "bias"
        rows = {Mlp: "hidden", Embedding: "rows"}.get(type(layer))
        for parallelism in (training.saved.parallelism, training.loaded.parallelism):
            if rows and any(getattr(layer, rows) % size for size in (parallelism.data, parallelism.tensor) if size):
                yield "uneven rows"
    blocks = [layer for layer in training.layers if isinstance(layer, Block)]
    there = [*training.layers, *(layer for block in blocks for layer in block.layers)]
    names = {
        "block": bool(blocks),
        "again": any(isinstance(layer, Again) and not layer.inside for layer in there),
        "again, in a module of its own": any(isinstance(layer, Again) and layer.inside for layer in there),
        "own parameter": training.own,
        training.dtype: training.dtype != "float32",
    }
    yield from (name for name, there in names.items() if there)


def _of_optimizer(optimizer: Optimizer | None) -> Iterator[str]:
    if optimizer is None:
        yield "none"
        return
    yield f"{optimizer.kind}{', variant' if optimizer.variant and optimizer.kind in _VARIED else ''}"
    yield "one group" if optimizer.groups == "one" else optimizer.groups
    names = {
        "weight decay": optimizer.decay,
        "lr in a tensor": optimizer.tensor_lr,
        "scheduled": optimizer.scheduled,
        "two optimizers": optimizer.apart,
    }
    yield from (name for name, there in names.items() if there)


def _of_save(training: Training) -> Iterator[str]:
    yield from _of_side(training.saved)
    yield "async_save" if training.api == "async" else "save"


def _of_load(training: Training) -> Iterator[str]:
    side = training.loaded
    yield from _of_side(side)
    names = {
        "another parallelism": training.saved.parallelism != side.parallelism,
        "strict=False": not side.strict,
        "meta device": side.meta,
        "load_sharded_optimizer_state_dict": side.unasked,
        "flatten_optimizer_state_dict": training.flatten,
        "ignore_frozen_params": training.ignore_frozen,
        "submodules": bool(training.saved.submodules),
        "submodules, at load alone": bool(side.submodules) and not training.saved.submodules,
        "keep_submodule_prefixes=False": not training.keep_prefixes,
        "nested submodule": training.nested,
        "dsd_fqn_modifiers": training.modifiers != "_fqn_modifiers",
    }
    yield from (name for name, there in names.items() if there)


def _of_side(side: Side) -> Iterator[str]:
    mesh = _mesh(side.parallelism)
    if mesh != "one rank" or side.parallelism.stages == 1:
        yield mesh
    yield side.calls
    yield f"{side.steps} step{'' if side.steps == 1 else 's'}"
    names = {
        "stages of a pipeline": side.parallelism.stages > 1,
        "FSDP's first version": side.parallelism.flat,
        "FSDP's first version, with replicas": side.parallelism.flat and side.parallelism.replicas > 1,
        "wrapped": side.parallelism.wrapped,
        "evaluated": side.evaluated,
        "gradients": side.backward,
        "full_state_dict": side.full,
        "cpu_offload": side.offload,
        "broadcast_from_rank0": side.broadcast,
        f"whole: {side.whole}": side.whole != "bare",
        f"layers: {side.each}": side.each != "bare",
    }
    yield from (name for name, there in names.items() if there)


def _mesh(parallelism: Parallelism) -> str:
    dims = {"replicas": parallelism.replicas > 1, "data": parallelism.data > 0, "tensor": parallelism.tensor > 0}
    return " × ".join(dim for dim, there in dims.items() if there) or "one rank"
