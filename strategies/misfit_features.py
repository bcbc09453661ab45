"""What there is to count of what does not fit a training, by name; see :mod:`strategies.features`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from worlds.training.misfit import Kind, Misfit

__all__ = ["MISFIT_FEATURES", "misfit_features"]

_GROUP = "what does not fit a training"

MISFIT_FEATURES: dict[str, tuple[str, ...]] = {
    _GROUP: (
        *get_args(Kind),
        "to set_model_state_dict",
        "to set_optimizer_state_dict",
        "to set_state_dict",
        "on every rank",
        "on some ranks",
        "on the rank that broadcasts it",
        "strict=False",
        "full_state_dict",
        "flatten_optimizer_state_dict",
        "replicas",
        "fully_shard",
        "tensor parallelism",
        "FSDP's first version",
        "DDP",
        "compiled",
    )
}
"""Every feature, in its group."""


def misfit_features(misfit: Misfit) -> frozenset[tuple[str, str]]:
    """The features of what does not fit, each with its group, as :data:`MISFIT_FEATURES` lists them."""
    return frozenset((_GROUP, name) for name in _features(misfit))


def _features(misfit: Misfit) -> Iterator[str]:
    side, parallelism = misfit.side, misfit.side.parallelism
    yield misfit.kind
    calls = {"model": "to set_model_state_dict", "optim": "to set_optimizer_state_dict"}
    yield "to set_state_dict" if side.calls == "together" else calls[misfit.part]
    if misfit.is_broadcast:
        yield "on the rank that broadcasts it"
    else:
        yield "on some ranks" if misfit.ranks else "on every rank"
    names = {
        "strict=False": not side.strict,
        "full_state_dict": side.full,
        "flatten_optimizer_state_dict": misfit.flatten,
        "replicas": parallelism.replicas > 1,
        "fully_shard": parallelism.data > 0 and not parallelism.flat,
        "tensor parallelism": parallelism.tensor > 0,
        "FSDP's first version": parallelism.flat,
        side.whole: side.whole != "bare",
    }
    yield from (name for name, there in names.items() if there)
