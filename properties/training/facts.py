"""What the ledger's predicates ask of a breach: what was saved, what was raised, and what a load refused."""

from __future__ import annotations

from collections.abc import Iterator

from properties.violations import UnexpectedFailure
from worlds.training import Again, Block, Saved
from worlds.training.layers import Layer

from .breach import TrainingBreach

__all__ = [
    "GROUPS",
    "STATE",
    "STATE_DICT",
    "empty_groups",
    "has_again",
    "names_of_module",
    "of_second_name",
    "parameters_with_state",
    "raised",
    "refused_parameters",
    "saved_names",
    "saved_scalars",
    "saved_values",
]

STATE = "optim.state."
GROUPS = "optim.param_groups."
STATE_DICT = "torch/distributed/checkpoint/state_dict.py"


def saved_values(breach: TrainingBreach) -> dict[str, str]:
    """What the ranks of the save held beside tensors; where two have another under one name, what the first has."""
    ranks = [rank for rank in breach.outcome.saved if isinstance(rank, Saved)]
    return {name: value for rank in reversed(ranks) for name, value in rank.after.values}


def saved_names(breach: TrainingBreach) -> set[str]:
    """The names of the tensors that the ranks of the save held."""
    return {name for rank in breach.outcome.saved if isinstance(rank, Saved) for name, _ in rank.after.tensors}


def saved_scalars(breach: TrainingBreach) -> set[str]:
    """Those of which the tensors are 0-d."""
    ranks = [rank for rank in breach.outcome.saved if isinstance(rank, Saved)]
    return {name for rank in ranks for name, tensor in rank.after.tensors if not tensor.shape}


def empty_groups(breach: TrainingBreach) -> list[int]:
    values = saved_values(breach)
    groups = [name for name in values if name.startswith(GROUPS) and name.endswith(".params")]
    return [int(name.split(".")[2]) for name in groups if values[name] == "[]"]


def raised(breach: TrainingBreach, call: str, error: str, message: str = "", origin: str = "") -> bool:
    """Whether what broke is that ranks raised that error in that call."""
    failed = breach.failed
    return (
        breach.kind is UnexpectedFailure
        and failed is not None
        and failed.call == call
        and failed.raised.error.type == error
        and message in failed.raised.error.message
        and failed.raised.origin.startswith(origin)
    )


def refused_parameters(breach: TrainingBreach) -> set[str]:
    """The parameters of which a strict load misses the optimizer state, where that is why ranks raised."""
    prefix = "Missing optimizer state for parameter '"
    if not breach.training.loaded.strict or not raised(breach, "set", "RuntimeError", prefix):
        return set()
    assert breach.failed is not None
    return {breach.failed.raised.error.message.removeprefix(prefix).partition("'")[0]}


def parameters_with_state(breach: TrainingBreach) -> set[str]:
    """The parameters of which optimizer state was saved."""
    names = (name.removeprefix(STATE) for name in saved_names(breach) if name.startswith(STATE))
    return {name.rpartition(".")[0] for name in names}


def names_of_module(layers: tuple[Layer, ...], name: str) -> set[str]:
    """The other names of what is in a layer that comes again; ``name`` is as :class:`worlds.training.Held` has it."""
    found: set[str] = set()
    for first, again in _twice(layers, "model."):
        found |= {
            other + name.removeprefix(one) for one, other in ((first, again), (again, first)) if name.startswith(one)
        }
    return found


def has_again(layers: tuple[Layer, ...]) -> bool:
    """Whether a layer comes again."""
    return any(_twice(layers, ""))


def of_second_name(layers: tuple[Layer, ...], name: str) -> bool:
    """Whether a parameter, by its name in the model, is there by a name that it has beside its first one."""
    return any(f"model.{name}".startswith(again) for _, again in _twice(layers, "model."))


def _twice(layers: tuple[Layer, ...], prefix: str) -> Iterator[tuple[str, str]]:
    """How the names of a layer that comes again begin: where it is first, and where it comes again."""
    for place, layer in enumerate(layers):
        if isinstance(layer, Again):
            yield f"{prefix}{layer.place}.", f"{prefix}{place}.{'0.' if layer.inside else ''}"
        elif isinstance(layer, Block):
            yield from _twice(layer.layers, f"{prefix}{place}.")
