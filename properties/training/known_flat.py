"""What goes wrong in released torch with the state dicts of trainings that FSDP's first version shards."""

from __future__ import annotations

import re

from properties.violations import (
    Deadlock,
    NotLoaded,
    UnexpectedFailure,
    WrongBits,
    WrongKeys,
    WrongObject,
    WrongTensor,
)
from worlds.training import Counter, Embedding, Mlp, Norm, Optimizer, Parallelism, Side, Training
from worlds.training.layers import leaf_layers

from .breach import TrainingBreach
from .facts import GROUPS, STATE, STATE_DICT, empty_groups, raised, saved_names
from .issue import TrainingIssue

__all__ = ["FLAT_ISSUES"]


def _broadcast_at_save(breach: TrainingBreach) -> bool:
    """Whether hyperparameters are lost of which a rank other than 0 saved an empty list.

    With them the names of the parameters are lost that full state is matched by, for which those of the target stand:
    where a parameter is tied, and has two, state goes to another one, or to none.
    """
    side = breach.training.saved
    if breach.side != "load" or not (side.parallelism.flat and side.broadcast) or breach.training.flatten:
        return False
    lost = breach.kind in (WrongKeys, WrongObject, WrongBits, NotLoaded) and breach.name.startswith(GROUPS)
    refused = (
        "There are param groups that have zero parameters",
        "loaded state dict contains a parameter group that doesn't match the size",
    )
    tied = any(isinstance(layer, Embedding) and layer.tied for layer in leaf_layers(breach.training.layers))
    full = breach.training.loaded.full and not breach.training.loaded.parallelism.flat
    moved = (
        breach.kind in (WrongKeys, WrongTensor, WrongBits, NotLoaded)
        and breach.name.startswith(STATE)
        and tied
        and full
    )
    refuses = any(raised(breach, "set", "ValueError", message) for message in refused)
    return lost or moved or refuses or _is_taken_for_older(breach)


def _is_taken_for_older(breach: TrainingBreach) -> bool:
    """Whether every rank that loads misses objects of modules alone.

    A list of which there is more in the checkpoint than what is in it is what torch before 2.4 would have saved, and so
    each object is looked for under the name that it had then.
    """
    failed = breach.failed
    if failed is None or failed.call != "load" or breach.kind is not UnexpectedFailure:
        return False
    layers = leaf_layers(breach.training.layers)
    has_both = breach.training.optimizer is not None and any(isinstance(one, Counter) and one.extra for one in layers)
    missing = re.compile(r"Missing key in checkpoint state_dict: model\.([\w.]+\.)?_extra_state\.")
    errors = [error.message for _, error in failed.raised.failures or ()]
    return has_both and bool(errors) and all(missing.fullmatch(message) for message in errors)


def _broadcast_at_load(breach: TrainingBreach) -> bool:
    """Whether ranks other than 0 ask the checkpoint for an empty list; rank 0 may lack something itself."""
    side, failed = breach.training.loaded, breach.failed
    if breach.side != "load" or not (side.parallelism.flat and side.broadcast) or breach.training.flatten:
        return False
    if failed is None or failed.call != "load" or breach.kind is not UnexpectedFailure:
        return False
    others = [error.message for rank, error in failed.raised.failures or () if rank > 0]
    missing = "Missing key in checkpoint state_dict: optim.param_groups."
    return bool(others) and all(message == missing for message in others)


def _flattened(breach: TrainingBreach) -> bool:
    """Whether ranks of which each has the state of its own parameters alone are given no more than of those."""
    training, failed = breach.training, breach.failed
    side = training.loaded
    if breach.side != "load" or not (training.flatten and side.parallelism.flat and side.steps):
        return False
    if failed is not None:
        return any(raised(breach, "set", "RuntimeError", message) for message in _OF_SHAPES)
    return breach.kind is Deadlock or (breach.kind in (WrongBits, WrongKeys) and breach.name.startswith(STATE))


def _unasked_without_state(breach: TrainingBreach) -> bool:
    """Whether an optimizer without any state was read, and taken for one that is flat, which has no empty group."""
    origin = f"{STATE_DICT}:_unflatten_optim_state_dict"
    stateless = not any(name.startswith(STATE) for name in saved_names(breach))
    refused = raised(breach, "set", "KeyError", "'param_groups.", origin)
    refused |= bool(empty_groups(breach)) and raised(breach, "set", "IndexError", "", origin)
    return breach.training.loaded.unasked and stateless and refused


def _unasked_beside_extra_state(breach: TrainingBreach) -> bool:
    """Whether the size was asked for of an object in the model's state dict."""
    origin = "torch/distributed/checkpoint/optimizer.py:_get_state_dict_2d_layout"
    error = raised(breach, "load", "AttributeError", "object has no attribute 'size'", origin)
    return breach.training.loaded.unasked and error


def _unasked_of_copies(breach: TrainingBreach) -> bool:
    """Whether state was read in as many parts as there are ranks, of which fewer share what others have copies of."""
    loaded = breach.training.loaded
    of_state = breach.kind in (WrongBits, NotLoaded) and breach.name.startswith(STATE)
    return breach.side == "load" and loaded.unasked and loaded.parallelism.replicas > 1 and of_state


_OF_SHAPES = ("doesn't match the broadcast shape", "must match the size of tensor", "gloo/transport")
"""What a collective says of ranks that give it tensors of other shapes than each other, the last on real ranks."""

_TWO = Parallelism(data=2, flat=True)
_COPIES = Parallelism(2, data=2, flat=True)

FLAT_ISSUES: tuple[TrainingIssue, ...] = (
    TrainingIssue(
        id="flat-empty-groups-saved",
        title="with broadcast_from_rank0, FSDP's first version leaves ranks other than 0 an optimizer without groups",
        loses="one of them is saved for rank 0's: a checkpoint that was reported as saved has no learning rate",
        training=Training(optimizer=Optimizer("Adam"), saved=Side(_TWO, 1, full=True, broadcast=True)),
        matches=_broadcast_at_save,
    ),
    TrainingIssue(
        id="flat-empty-groups-loaded",
        title="with broadcast_from_rank0, ranks of FSDP's first version ask a checkpoint for an empty list of groups",
        loses="a checkpoint cannot be loaded with the option: Missing key in checkpoint state_dict: optim.param_groups",
        training=Training(loaded=Side(_TWO, full=True, broadcast=True)),
        matches=_broadcast_at_load,
    ),
    TrainingIssue(
        id="flat-state-mixed-up",
        title="with flatten_optimizer_state_dict, ranks of FSDP's first version drop state that is on other ranks",
        loses="a running training that goes back to a checkpoint gets moments of other parameters, in silence, "
        "or an error of a collective",
        training=Training((Mlp(2),), 2, Optimizer("Adam"), saved=Side(_TWO, 1), loaded=Side(_TWO, 1), flatten=True),
        matches=_flattened,
    ),
    TrainingIssue(
        id="flat-sharded-without-state",
        title="what load_sharded_optimizer_state_dict() reads of an optimizer that keeps no state cannot be set",
        loses="a training with plain SGD cannot be resumed that way: KeyError",
        training=Training(loaded=Side(_TWO, unasked=True)),
        matches=_unasked_without_state,
    ),
    TrainingIssue(
        id="flat-sharded-beside-extra-state",
        title="load_sharded_optimizer_state_dict() asks everything in the model's state dict for its size",
        loses="a training with a module that has extra state cannot be resumed that way: AttributeError",
        training=Training((Norm(), Counter(extra=True)), optimizer=Optimizer("Adam"), loaded=Side(_TWO, unasked=True)),
        matches=_unasked_beside_extra_state,
    ),
    TrainingIssue(
        id="flat-sharded-for-all-ranks",
        title="load_sharded_optimizer_state_dict() cuts an optimizer's state for all ranks, where HYBRID_SHARD has "
        "copies of what fewer share",
        loses="after a resume, ranks silently have zeros, or other rows of a parameter's state, in the place of theirs",
        training=Training(
            optimizer=Optimizer("Adam"), saved=Side(_COPIES, 1), loaded=Side(_COPIES, unasked=True), width=2
        ),
        matches=_unasked_of_copies,
    ),
)
