"""Strategies for trainings: a module, its optimizer, and how the ranks hold both at save and at load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar, get_args

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.training import (
    Again,
    Block,
    Counter,
    Embedding,
    Mlp,
    Norm,
    Optimizer,
    Parallelism,
    Renamed,
    Scale,
    Side,
    Training,
)
from worlds.training.case import Calls, Dtype, Modifiers, WrappedLayers, WrappedWhole
from worlds.training.layers import Layer, Use, can_be_cut, has_two_groups, leaf_layers
from worlds.training.optimizer import WITHOUT_DECAY, WITHOUT_DTENSOR, Kind, can_step
from worlds.training.parallelism import can_train
from worlds.training.program import HAS_SUBMODULES

from ._bounds import check_bounds, within_limit
from ._reused import reused, sampled_from
from ._telling import tell
from ._weighted import weighted
from .training_features import training_features

__all__ = ["optimizers", "parallelisms", "training_layers", "training_sides", "trainings"]

T = TypeVar("T")

_uses: SearchStrategy[Use] = st.sampled_from(("trained",) * 6 + ("frozen", "unused"))
# Rows that two cuts, one on top of the other, divide otherwise than one cut does: 7 over 3 × 2, and 13.
_sizes = st.integers(1, 6) | st.integers(1, 13)


# full_state_dict, cpu_offload and broadcast_from_rank0, as far as torch's documentation lets them go together.
_Handing = tuple[bool, bool, bool]
_SAVING: SearchStrategy[_Handing] = st.sampled_from(
    ((False, False, False),) * 6
    + ((True, False, False),) * 2
    + ((False, True, False), (True, True, False), (True, False, True), (True, True, True))
)
_LOADING: SearchStrategy[_Handing] = st.sampled_from(
    ((False, False, False),) * 6
    + ((True, False, False),) * 2
    + ((False, True, False), (True, False, True), (True, False, True), (True, True, True), (True, True, False))
)


_SUBMODULES = st.sampled_from(("all",) * 9 + ("some", "some at load", "one by itself") * HAS_SUBMODULES)
"""Of which layers the model's state is asked for, and whether it has the names that it has in the whole."""


_DTYPES: tuple[Dtype, ...] = ("float32",) * 5 + ("bfloat16",)
_MODIFIERS: tuple[Modifiers, ...] = ("_fqn_modifiers",) * 4 + ("names_in_state_dict",)


def _seldom(often: T, *seldom: T) -> SearchStrategy[T]:
    """Mostly the first: what is seldom in trainings often breaks them, and hides what else could be found."""
    return sampled_from((often,) * 4 + seldom)


_leaves: SearchStrategy[Layer] = weighted(
    (3, st.builds(Norm, use=_uses)),
    (3, st.builds(Mlp, _sizes, bias=st.booleans(), use=_uses)),
    (3, st.builds(Embedding, _sizes, tied=st.booleans(), use=_uses)),
    (3, st.builds(Scale, use=_uses)),
    (3, st.builds(Counter, extra=st.booleans())),
    (1, st.builds(Renamed, use=_uses)),
)


@reused
def training_layers(*, max_layers: int = 3) -> SearchStrategy[tuple[Layer, ...]]:
    """Layers of a module, of which one at least is trained; blocks of them too. Shrinks towards one ``LayerNorm``.

    Parameters that are shared, frozen, without a gradient, 0-d, or of as many rows as no mesh divides matter, as do
    buffers and objects: each has a way of its own through the state dict.
    """
    check_bounds("layers", 1, max_layers, at_least=1)
    again: SearchStrategy[Layer] = st.builds(Again, st.integers(0, 1), st.booleans())
    leaves = weighted((15, _leaves), (1, again))
    blocks: SearchStrategy[Layer] = st.builds(Block, st.lists(leaves, min_size=1, max_size=2).map(_legal_again))
    layers = st.lists(weighted((12, _leaves), (3, blocks), (2, again)), min_size=1, max_size=max_layers)
    return layers.map(_legal_again).filter(_is_trained)


def _legal_again(drawn: list[Layer]) -> tuple[Layer, ...]:
    """The layers; where one comes again that does not come before, a ``LayerNorm``."""
    layers: list[Layer] = []
    for layer in drawn:
        there = isinstance(layer, Again) and layer.place < len(layers) and not isinstance(layers[layer.place], Again)
        layers.append(layer if there or not isinstance(layer, Again) else Norm())
    return tuple(layers)


def _is_trained(layers: tuple[Layer, ...]) -> bool:
    return any(not isinstance(layer, Counter) and layer.use == "trained" for layer in leaf_layers(layers))


@reused
def optimizers() -> SearchStrategy[Optimizer]:
    """Optimizers of ``torch.optim`` with their options. Shrinks towards plain SGD, which keeps no state."""
    return st.builds(
        _optimizer,
        st.sampled_from(get_args(Kind)),
        variant=st.booleans(),
        decay=st.booleans(),
        groups=st.sampled_from(("one", "one", "matrices first", "matrices last")),
        tensor_lr=_seldom(False, True),
        scheduled=_seldom(False, True),
    ).flatmap(_perhaps_apart)


def _optimizer(kind: Kind, **fields: Any) -> Optimizer:
    """What comes next to those options and is of that kind."""
    if kind == "Muon":
        fields |= {"groups": "matrices first" if fields["groups"] == "one" else fields["groups"], "apart": True}
    if kind in WITHOUT_DECAY:
        fields["decay"] = False
    if kind == "LBFGS":
        fields["groups"] = "one"
    return Optimizer(kind, **fields)


@reused
def _perhaps_apart(optimizer: Optimizer) -> SearchStrategy[Optimizer]:
    """With one group, as it is; or else also with an optimizer for each."""
    if optimizer.groups == "one" or optimizer.apart:
        return st.just(optimizer)
    return _seldom(False, True).map(lambda apart: replace(optimizer, apart=apart))


def parallelisms(*, max_world_size: int = 6) -> SearchStrategy[Parallelism]:
    """Meshes of at most ``max_world_size`` ranks: replicas, ``fully_shard``, tensor parallelism, and each with each.

    Or FSDP's first version by itself. Shrinks towards one rank without any parallelism.
    """
    check_bounds("world_size", 1, max_world_size, at_least=1)
    return _parallelisms(within_limit(max_world_size))


@reused
def _parallelisms(most: int) -> SearchStrategy[Parallelism]:
    replicas, few, some, wrapped = st.integers(2, 3), st.integers(1, 3), st.integers(1, 4), st.booleans()
    return weighted(
        (4, st.builds(Parallelism, st.integers(1, 2))),
        (3, st.builds(Parallelism, data=some, wrapped=wrapped)),
        (2, st.builds(Parallelism, tensor=some)),
        (3, st.builds(Parallelism, data=few, tensor=few, wrapped=wrapped)),
        (6, st.builds(Parallelism, data=st.integers(2, 4), wrapped=wrapped, flat=st.just(True))),
        (1, st.builds(Parallelism, st.just(2), data=st.integers(2, 3), wrapped=wrapped, flat=st.just(True))),
        (1, st.builds(Parallelism, replicas, data=few, wrapped=wrapped)),
        (1, st.builds(Parallelism, replicas, tensor=few)),
        (1, st.builds(Parallelism, st.just(2), data=few, tensor=few, wrapped=wrapped)),
    ).filter(lambda drawn: drawn.world_size <= most)


def training_sides(*, load: bool = False, max_world_size: int = 6) -> SearchStrategy[Side]:
    """The training at save, or with ``load`` at load, with legal options. Shrinks towards one rank, and no option.

    ``broadcast_from_rank0`` is needed at load where rank 0 alone has the full state dict; at save it changes nothing.
    """
    return _sides(load, parallelisms(max_world_size=max_world_size))


@reused
def _sides(load: bool, parallelism: SearchStrategy[Parallelism]) -> SearchStrategy[Side]:
    sides = st.builds(
        _side,
        _LOADING if load else _SAVING,
        parallelism=parallelism,
        steps=_seldom(0, 1) if load else st.sampled_from((1,) * 6 + (2, 2, 0)),
        evaluated=_seldom(False, True),
        # At load only after steps, which are seldom there.
        backward=st.booleans() if load else _seldom(False, True),
        calls=st.sampled_from(get_args(Calls)),
        strict=_seldom(True, False),
        whole=st.sampled_from(_WHOLES),
        each=st.sampled_from(_EACH),
    )
    return sides.map(_legal_load) if load else sides


def _side(handing: _Handing, **fields: Any) -> Side:
    full, offload, broadcast = handing
    parallelism: Parallelism = fields["parallelism"]
    if "DDP" in fields["whole"] and (parallelism.data or parallelism.tensor):
        fields["whole"] = "bare"
    if parallelism.flat:
        fields["whole"] = fields["each"] = "bare"
        offload = offload and not full
    return Side(full=full, offload=offload, broadcast=broadcast, **fields)


_WHOLES: tuple[WrappedWhole, ...] = ("bare",) * 5 + ("compiled",) + ("DDP", "compiled DDP", "DDP compiled") * 3
_EACH: tuple[WrappedLayers, ...] = ("bare",) * 6 + ("compiled", "checkpointed")


def _legal_load(side: Side) -> Side:
    """Without gradients that no step has followed, where there was none: then torch cannot load.

    And with ``broadcast_from_rank0`` where rank 0 alone has what is loaded.
    """
    alone = side.full and side.offload and side.parallelism.world_size > 1
    return replace(side, backward=side.backward and side.steps > 0, broadcast=side.broadcast or alone)


def _on_meta(side: Side) -> Side:
    """The side as it is where what is loaded into has no memory yet."""
    kept = {name: getattr(side, name) for name in ("parallelism", "offload", "broadcast", "strict")}
    return Side(calls="model first", full=True, meta=True, **kept)


@st.composite
def trainings(draw: DrawFn, *, max_world_size: int = 6, max_layers: int = 3) -> Training:
    """Trainings that are saved, and loaded into another one of the same module, in a world that is often another.

    Shrinks towards a ``LayerNorm`` of one feature that SGD has taken a step with, on one rank.
    """
    width = draw(st.integers(1, 4), label="width")
    optimizer = draw(weighted((9, optimizers()), (1, st.none())), label="optimizer")
    saved = draw(training_sides(max_world_size=max_world_size), label="save")
    loaded = draw(training_sides(load=True, max_world_size=max_world_size), label="load")
    flatten = draw(_seldom(False, True, True), label="flatten")
    ignore_frozen = draw(_seldom(False, True, True), label="ignore frozen")
    api = draw(_seldom("save", "async"), label="api")
    own = draw(_seldom(False, True), label="a parameter of its own")
    modifiers = draw(sampled_from(_MODIFIERS), label="modifiers")
    meta = draw(_seldom(False, True), label="meta")
    which = draw(_SUBMODULES, label="submodules")
    asked = draw(st.tuples(*[st.booleans()] * max_layers), label="the layers that are asked for")
    nested = draw(st.booleans(), label="the first layer of a block alone")
    more = draw(st.tuples(*[st.booleans()] * max_layers), label="those at save alone")
    layers = draw(training_layers(max_layers=max_layers), label="layers")
    dtype = draw(sampled_from(_DTYPES), label="dtype")
    stages = draw(sampled_from(_STAGES), label="stages")
    saved, loaded = (_shared(side, layers, optimizer) for side in (saved, loaded))
    layers = tuple(_widened(layer, (saved.parallelism, loaded.parallelism)) for layer in layers)
    if optimizer is not None:
        apart = optimizer.apart and has_two_groups(layers, own=own)
        optimizer = _steppable(optimizer, layers, width, (saved, loaded), apart=apart, flatten=flatten)
    new = meta and not ignore_frozen and which == "all"
    if loaded.full and new and not loaded.parallelism.flat:
        loaded = _on_meta(loaded)
    if loaded.parallelism.flat and not loaded.full and not loaded.offload and optimizer is not None and not flatten:
        loaded = replace(loaded, unasked=draw(_seldom(True, False), label="load_sharded_optimizer_state_dict"))
    if ignore_frozen or which != "all":
        loaded = replace(loaded, strict=False)
    if which != "all":
        loaded = replace(loaded, submodules=_places(asked, layers)[: 1 if which == "one by itself" else None])
    if which == "some":
        saved = replace(saved, submodules=tuple(sorted({*loaded.submodules, *_places(more, layers)})))
    elif which == "one by itself":
        saved = replace(saved, submodules=loaded.submodules)
    places = {*saved.submodules, *loaded.submodules}
    training = Training(
        layers,
        width,
        optimizer,
        saved,
        loaded,
        flatten=flatten,
        ignore_frozen=ignore_frozen,
        api=api,  # type: ignore[arg-type]
        keep_prefixes=which != "one by itself",
        modifiers=modifiers,
        own=own,
        dtype=dtype,
        nested=nested and _can_be_nested([layers[place] for place in places], saved, loaded),
    )
    training = _in_stages(training, stages, within_limit(max_world_size))
    tell(training_features(training))
    return training


_STAGES = (*[(1, 1)] * 5, (2, 1), (1, 2), (2, 2), (2, 3), (3, 2))
"""How many a pipeline has, at save and at load, where there are layers for them."""


def _in_stages(training: Training, stages: tuple[int, int], most: int) -> Training:
    """The training as a pipeline, on at most so many ranks, if it takes all of its model and each stage can train."""
    layers = training.layers
    together = training.own or training.loaded.submodules or any(isinstance(layer, Again) for layer in layers)
    if max(stages) == 1 or together or not all(can_be_cut(layers, number) for number in stages):
        return training
    saved, loaded = (
        side if number == 1 else _of_stages(side, number, most)
        for side, number in zip((training.saved, replace(training.loaded, unasked=False)), stages, strict=True)
    )
    one = training.optimizer
    if one is not None:
        one = _steppable(one, layers, training.width, (saved, loaded), apart=False, flatten=True)
        one = replace(one, groups="one")
    return replace(training, optimizer=one, saved=saved, loaded=loaded, flatten=True)


def _of_stages(side: Side, stages: int, most: int) -> Side:
    """The side without what all ranks would have to have."""
    parallelism = replace(side.parallelism, stages=stages, flat=False)
    if parallelism.world_size > most:
        parallelism = Parallelism(stages=stages)
    whole = "bare" if "DDP" in side.whole else side.whole
    return replace(side, parallelism=parallelism, full=False, broadcast=False, meta=False, whole=whole)


def _can_be_nested(asked: list[Layer], *sides: Side) -> bool:
    """Whether there is a block of which the first layer may be asked for."""
    again = any(isinstance(layer, Again) for layer in asked)
    bare = all(side.each == "bare" for side in sides)
    return bare and not again and any(isinstance(layer, Block) for layer in asked)


def _places(chosen: Sequence[bool], layers: Sequence[Layer]) -> tuple[int, ...]:
    """The layers that are chosen, by their places; the first one where none is."""
    return tuple(place for place in range(len(layers)) if chosen[place]) or (0,)


def _shared(side: Side, layers: tuple[Layer, ...], optimizer: Optimizer | None) -> Side:
    """The side as those layers and that optimizer can be shared by its ranks, of which there are as many.

    FSDP's first version cuts what takes no shards without a word.
    """
    parallelism = side.parallelism
    if any(isinstance(layer, Scale | Renamed) for layer in leaf_layers(layers)) or (optimizer and optimizer.apart):
        parallelism = replace(parallelism, flat=False)
    whole = optimizer is not None and optimizer.kind in WITHOUT_DTENSOR
    if whole and not parallelism.flat:
        parallelism = Parallelism(parallelism.world_size)
    return replace(side, parallelism=parallelism)


_INSTEAD: dict[Kind, Kind] = {"Muon": "AdamW", "Rprop": "SGD", "Adafactor": "Adam", "LBFGS": "SGD"}
"""What takes steps where those cannot."""


def _steppable(
    optimizer: Optimizer,
    layers: tuple[Layer, ...],
    width: int,
    sides: tuple[Side, Side],
    *,
    apart: bool,
    flatten: bool,
) -> Optimizer:
    """The optimizer, or another one where it takes no step, or where there is none of its kind with those options."""
    leaves = list(leaf_layers(layers))
    steps = all(can_step(optimizer, leaves, width, side.parallelism) for side in sides)
    alone = optimizer.kind == "Muon" and not apart
    lists = optimizer.kind == "LBFGS" and (flatten or sides[1].steps > 0)
    kind = optimizer.kind if steps and not alone and not lists else _INSTEAD[optimizer.kind]
    return replace(optimizer, kind=kind, apart=apart)


def _widened(layer: Layer, sides: tuple[Parallelism, ...]) -> Layer:
    """The layer with as many more rows as it takes for both sides to train it."""
    if isinstance(layer, Block):
        return replace(layer, layers=tuple(_widened(inner, sides) for inner in layer.layers))
    while isinstance(layer, Mlp | Embedding) and not all(can_train(layer, side) for side in sides):
        rows = {"hidden": layer.hidden + 1} if isinstance(layer, Mlp) else {"rows": layer.rows + 1}
        layer = replace(layer, **rows)  # type: ignore[arg-type]
    return layer
