"""Strategies for what does not fit a training that it is given to."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.training import Counter, Embedding, Mlp, Norm, Optimizer, Parallelism, Scale, Side
from worlds.training.case import Calls, WrappedWhole
from worlds.training.layers import Layer
from worlds.training.misfit import (
    BY_EACH,
    OF_NESTED,
    OF_OPTIMIZER,
    OF_STATE,
    ONE_ROW,
    Kind,
    Misfit,
    keeps_state,
    may_differ,
)
from worlds.training.parallelism import can_train

from ._reused import sampled_from
from ._several import several
from ._telling import tell
from ._weighted import weighted
from .failures import failing_ranks
from .misfit_features import misfit_features
from .trainings import parallelisms

__all__ = ["misfits"]

_OPTIMIZERS: SearchStrategy[Optimizer] = st.builds(
    Optimizer,
    st.sampled_from(("SGD", "SGD", "Adam", "Adam", "Adagrad", "RMSprop")),
    variant=st.booleans(),
    groups=st.sampled_from(("one", "one", "matrices first", "matrices last")),
)
_LAYERS: SearchStrategy[Layer] = st.one_of(
    st.builds(Norm),
    st.builds(Mlp, st.integers(1, 4), bias=st.booleans()),
    st.builds(Embedding, st.integers(1, 4), tied=st.booleans()),
    st.builds(Counter, extra=st.booleans()),
    st.builds(Scale),
)
_HANDING = ((False, False),) * 2 + ((True, False),) * 2 + ((True, True),) * 3
"""``full_state_dict`` and ``broadcast_from_rank0``, for which there are most ways through a load."""

_CALLS: tuple[Calls, ...] = ("together", "model first")
_WHOLES: tuple[WrappedWhole, ...] = ("bare", "compiled", "DDP")


@st.composite
def misfits(draw: DrawFn, *, max_world_size: int = 4) -> Misfit:
    """Trainings that are given a state dict, or options, that do not fit them, by all ranks, or by some of them.

    Shrinks towards a ``LayerNorm`` of one feature on one rank, of whose state dict a key is missing. What is right
    could be loaded in all of them, as far as torch can; of layers there are one or two, since it takes no more for
    there to be another one beside what is wrong. The ranks that are wrong are drawn as those that fail are.
    """
    kind = draw(sampled_from(get_args(Kind)), label="kind")
    optimizer = _with_state(kind, draw(weighted((1, st.none()), (5, _OPTIMIZERS)), label="optimizer"))
    parallelism = draw(parallelisms(max_world_size=max_world_size), label="parallelism")
    full, broadcast = draw(sampled_from(_HANDING), label="full_state_dict, broadcast_from_rank0")
    strict = draw(sampled_from((True, True, True, False)), label="strict")
    whole = draw(sampled_from(_WHOLES), label="whole")
    steps = draw(sampled_from((0, 0, 1)), label="steps")
    calls: Calls = draw(sampled_from(_CALLS), label="calls")
    flatten = draw(sampled_from((False, False, True)), label="flatten")
    last = draw(st.booleans(), label="the last key")
    width = draw(st.integers(1, 3), label="width")
    layers = draw(several(_LAYERS, min_size=1, max_size=2, unique_by=type), label="layers")
    side = Side(
        parallelism=parallelism,
        steps=steps,
        calls=calls,
        full=full,
        broadcast=broadcast and kind != "broadcast without full",
        strict=strict,
        whole=_whole(whole, parallelism),
    )
    size = parallelism.world_size
    wrong = draw(failing_ranks(world_size=size), label="ranks that are wrong")
    apart = kind in BY_EACH if side.broadcast else may_differ(kind, side)
    misfit = Misfit(
        kind,
        _fitting(layers, parallelism, rows=kind == ONE_ROW),
        optimizer,
        side,
        tuple(sorted(wrong)) if apart and len(wrong) < size else (),
        max(2, width) if kind == ONE_ROW else width,
        flatten and not parallelism.flat and kind not in OF_NESTED,
        last,
    )
    tell(misfit_features(misfit))
    return misfit


def _with_state(kind: Kind, optimizer: Optimizer | None) -> Optimizer | None:
    """The optimizer, or one with which that can be wrong."""
    if kind in OF_STATE and not keeps_state(optimizer):
        return replace(optimizer or Optimizer(), variant=True)
    return optimizer or (Optimizer() if kind in OF_OPTIMIZER else None)


def _whole(drawn: WrappedWhole, parallelism: Parallelism) -> WrappedWhole:
    if parallelism.flat:
        return "bare"
    shared = parallelism.data or parallelism.tensor
    return "compiled" if drawn == "DDP" and shared else drawn


def _fitting(layers: list[Layer], parallelism: Parallelism, *, rows: bool) -> tuple[Layer, ...]:
    """The layers that torch can train so; one of them at least is trained, and with ``rows`` has several."""
    found: list[Layer] = []
    for layer in layers:
        if isinstance(layer, Scale) and parallelism.flat:
            layer = Norm()
        while isinstance(layer, Mlp) and not can_train(layer, parallelism):
            layer = replace(layer, hidden=layer.hidden + 1)
        while isinstance(layer, Embedding) and not can_train(layer, parallelism):
            layer = replace(layer, rows=layer.rows + 1)
        found.append(layer)
    trained = any(not isinstance(layer, Counter) for layer in found)
    if not trained or (rows and not any(isinstance(layer, Norm | Mlp) for layer in found)):
        found.insert(0, Norm())
    return tuple(found)
