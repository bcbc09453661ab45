"""How the known issues of what does not fit a training show themselves: each names the failure, as :mod:`.symptoms`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from properties.violations import (
    Deadlock,
    Disagreement,
    LostFailure,
    NotRefused,
    UnclearRefusal,
    UnexpectedFailure,
    WrongBits,
)
from worlds.outcome import ErrorRecord, Raised
from worlds.training import Counter, Embedding, Failed, Mlp, Norm, Scale
from worlds.training.layers import leaf_layers
from worlds.training.misfit import AT_ONCE, Kind
from worlds.training.misfit_outcome import Ended, Took

from .facts import STATE_DICT
from .judge_misfit import MisfitBreach

__all__ = [
    "OF_GROUPS",
    "SAID_OF_ANOTHER_MODEL",
    "SAID_OF_CONTENTS",
    "SAID_OF_PARTS",
    "SAID_OF_TYPES",
    "has_no_state_at_all",
    "is_copied_as_it_is",
    "is_left_unsharded",
    "is_missed_in_full",
    "is_no_model",
    "is_told_alone",
    "is_told_to_some",
    "is_too_many_for_rank_0",
    "says",
    "says_without_shared",
    "takes",
    "takes_contents",
]

_IN_STATE_DICT: tuple[Kind, ...] = (
    *AT_ONCE,
    "model key missing",
    "state of a parameter missing",
    "hyperparameter missing",
    "state of another optimizer",
    "parameter ids for names",
    "no groups",
    "parameter missing in a group",
    "parameter too many in a group",
)
"""What some way through ``set_state_dict`` refuses before it talks to other ranks."""


def is_told_alone(breach: MisfitBreach) -> bool:
    """The ranks to which it was given raised before they took part in anything, and others wait."""
    misfit, calls = breach.misfit, breach.outcome.calls
    if breach.kind is not Deadlock or breach.when != "in the call":
        return False
    raised = [rank for rank, seen in enumerate(calls) if isinstance(seen, Raised)]
    if misfit.kind == "optimizer of another model":
        # Rank 0 alone looks for its parameters where it is to broadcast the state.
        told = [0] if misfit.side.broadcast and not misfit.ranks else [*misfit.wrong]
        errors = (seen.error for seen in calls if isinstance(seen, Raised))
        return raised == told and all(_is_said(SAID_OF_ANOTHER_MODEL[misfit.kind], error) for error in errors)
    if misfit.kind not in _IN_STATE_DICT:
        return False
    # A state dict without any state passes for one of numbers, and goes as it is to the optimizer: before the model's
    # state is loaded, in which the others wait.
    before = (*_BEFORE, _LOAD) if misfit.kind == "no param_groups" else _BEFORE
    return raised == [*misfit.wrong] and all(_origin(breach, rank).startswith(before) for rank in raised)


_LOAD = "torch/optim/optimizer.py:load_state_dict"
_BEFORE = (STATE_DICT, "torch/distributed/_state_dict_utils.py:_unflatten_state_dict")


def _origin(breach: MisfitBreach, rank: int) -> str:
    seen = breach.outcome.calls[rank]
    return seen.origin if isinstance(seen, Raised) else ""


def says(said: Mapping[Kind, str]) -> Callable[[MisfitBreach], bool]:
    """Whether a rank is refused by such an error, as ``type: message``, of what is of that kind."""

    def matches(breach: MisfitBreach) -> bool:
        error, pattern = breach.error, said.get(breach.misfit.kind)
        if breach.kind is not UnclearRefusal or error is None or pattern is None:
            return False
        return _is_said(pattern, error)

    return matches


def _is_said(pattern: str, error: ErrorRecord) -> bool:
    return re.fullmatch(pattern, f"{error.type}: {error.message}", re.DOTALL) is not None


def _took(breach: MisfitBreach) -> bool:
    """Whether ranks to which what is wrong was given took it, and hold something else now than they should."""
    for rank in breach.misfit.alike:
        seen, alone = breach.outcome.calls[rank], breach.outcome.alone[rank]
        if isinstance(seen, Took) and alone is not None and isinstance(alone.call, Took) and seen != alone.call:
            return True
    return False


SAID_OF_TYPES: dict[Kind, str] = {
    "dict for options": "AttributeError: 'dict' object has no attribute 'broadcast_from_rank0'",
    "modifiers that are no method": "TypeError: 'bool' object is not callable",
    "object for a model tensor": r"AttributeError: 'int' object has no attribute '\w+'",
    "list for the model's state": "AttributeError: 'list' object has no attribute 'keys'",
    "list for the optimizer's state": "TypeError: list indices must be integers or slices, not str",
}
_FLAT_GROUPS = r"KeyError: 'param_groups\.[\w.]+'"
SAID_OF_PARTS: dict[Kind, str] = {
    "no state": rf"{_FLAT_GROUPS}|IndexError: list index out of range|AttributeError: 'dict' object has no .*",
    "no param_groups": rf"KeyError: 'param_groups'|{_FLAT_GROUPS}",
    "hyperparameter missing": _FLAT_GROUPS,
    "state of another optimizer": r"KeyError: '(param_groups|state)\.[\w.]+'",
    "parameter too many in a group": "KeyError: 'nobody'",
    "parameter ids for names": r"KeyError: ('state\.\d+\.\w+'|\d+)|"
    "AttributeError: 'int' object has no attribute 'unflat_param_names'",
}


def says_without_shared(breach: MisfitBreach) -> bool:
    """Of the names of the one parameter of a group none is found, since each is looked for with a hyperparameter."""
    kinds: tuple[Kind, ...] = ("no param_groups", "hyperparameter missing")
    shared = any(isinstance(layer, Embedding) and layer.tied for layer in leaf_layers(breach.misfit.layers))
    error = "IndexError: list index out of range"
    return breach.misfit.flatten and shared and says(dict.fromkeys(kinds, error))(breach)


OF_GROUPS: tuple[Kind, ...] = ("no groups", "hyperparameter missing", "parameter missing in a group")
_OF_CONTENTS: tuple[Kind, ...] = (
    "state of more rows",
    "object for a state",
    "state of a parameter in part",
)
_OF_FLAT_CONTENTS: tuple[Kind, ...] = ("state of a parameter missing", "no state")
"""What is seen where the optimizer's state dict is not flattened."""


def takes(*kinds: Kind) -> Callable[[MisfitBreach], bool]:
    """Whether ranks took what is of such a kind, or cannot take what is right after that."""

    def matches(breach: MisfitBreach) -> bool:
        if breach.misfit.kind not in kinds:
            return False
        if breach.when == "after it":
            return _took(breach) and _is_left_with_it(breach)
        return breach.kind is NotRefused

    return matches


def takes_contents(breach: MisfitBreach) -> bool:
    kinds = (*_OF_CONTENTS, *_OF_FLAT_CONTENTS) if breach.misfit.flatten else _OF_CONTENTS
    return takes(*kinds)(breach)


def has_no_state_at_all(breach: MisfitBreach) -> bool:
    """The state of the only parameter is missing, so that no key is left, all of which pass for numbers."""
    kinds = {Norm: 2, Mlp: 2, Scale: 1, Counter: 0}
    layers = list(leaf_layers(breach.misfit.layers))
    count = sum(2 - layer.tied if isinstance(layer, Embedding) else kinds.get(type(layer), 2) for layer in layers)
    return count == 1 and takes("state of a parameter missing")(breach)


def _is_left_with_it(breach: MisfitBreach) -> bool:
    """Whether what is right fails for what a rank had taken, or is not taken over for that, or others wait for it."""
    if breach.kind is not Deadlock:
        return breach.kind in (UnexpectedFailure, WrongBits)
    return any(isinstance(end, Ended) and isinstance(end.then, Failed) for end in breach.outcome.ranks)


SAID_OF_ANOTHER_MODEL: dict[Kind, str] = {
    "optimizer of another model": r"KeyError: (Parameter containing:.*|DTensor\(.*|'[\w.]+'|\d+)"
}
SAID_OF_CONTENTS: dict[Kind, str] = {
    "state of a parameter in part": r"KeyError: '\w+'|TypeError: float\(\) argument must be .* not 'dict'",
    "state of a parameter missing": r"TypeError: float\(\) argument must be .* not 'dict'",
    "no state": r"TypeError: float\(\) argument must be .* not 'dict'",
    "object for a state": r"AttributeError: '\w+' object has no attribute '\w+'",
}
_OTHER_SIZE = (
    r"RuntimeError: (output with shape .* doesn't match the broadcast shape .*"
    r"|The size of tensor a .* must match the size of tensor b .*)"
)
_SAID_OF_SIZES: dict[Kind, str] = {
    "model tensor of more rows": _OTHER_SIZE,
    "model tensor of one row": _OTHER_SIZE,
    "state of more rows": _OTHER_SIZE,
}
_SAID_OF_MARKERS: dict[Kind, str] = {
    "model key missing": "TypeError: '_EXTRA_STATE' object is not subscriptable",
    "model's state of another module": "TypeError: '_EXTRA_STATE' object is not subscriptable",
}


def is_missed_in_full(breach: MisfitBreach) -> bool:
    """A key is missing, and what the model has itself under that name stands for it."""
    side = breach.misfit.side
    kept = side.full and not (side.broadcast and side.strict)
    missed = breach.kind is NotRefused and breach.misfit.kind == "model key missing"
    return kept and (missed or says(_SAID_OF_MARKERS)(breach))


def is_no_model(breach: MisfitBreach) -> bool:
    """What is empty, or comes to nothing, is taken for there being no model to load, by some ranks, or by all."""
    misfit = breach.misfit
    alone = misfit.kind == "model key missing" and misfit.layers == (Scale(),)
    if not alone and misfit.kind != "model's state of another module":
        return False
    if breach.kind is Deadlock:
        went_on = [seen for rank in misfit.alike if isinstance(seen := breach.outcome.calls[rank], Took)]
        # Who has no element of what it did not load has done all that there was to do.
        return breach.when == "in the call" and (_took(breach) or any(map(_has_no_element, went_on)))
    return breach.kind is NotRefused or says(_SAID_OF_NOTHING)(breach)


def _has_no_element(seen: Took) -> bool:
    """Whether the rank holds nothing of the model, as of one with fewer rows than there are ranks."""
    tensors = () if isinstance(seen.held, str) else seen.held.tensors
    of_model = [tensor for name, tensor in tensors if name.startswith("model.")]
    return bool(of_model) and not any(chunk.data for tensor in of_model for chunk in tensor.chunks)


_SAID_OF_NOTHING: dict[Kind, str] = {
    "model's state of another module": "RuntimeError: Optimizers are not passed in but optim_only is set to True.",
    "model key missing": "RuntimeError: Optimizers are not passed in but optim_only is set to True.",
}


def is_too_many_for_rank_0(breach: MisfitBreach) -> bool:
    calls = breach.outcome.calls
    alone = isinstance(calls[0], Raised) and all(isinstance(seen, Took) for seen in calls[1:])
    return breach.kind is LostFailure and breach.misfit.kind == "model key too many" and alone


def is_copied_as_it_is(breach: MisfitBreach) -> bool:
    """A tensor that is broadcast is copied into what each rank has of it, without a look at its size."""
    misfit = breach.misfit
    if not misfit.is_broadcast or misfit.kind not in _SAID_OF_SIZES:
        return False
    if breach.kind is NotRefused:
        return misfit.kind == "model tensor of one row"
    raised = [seen for seen in breach.outcome.calls if isinstance(seen, Raised)]
    within = all(seen.origin == "torch/distributed/_state_dict_utils.py:_distribute_tensors" for seen in raised)
    said = breach.kind in (Deadlock, Disagreement, LostFailure) or says(_SAID_OF_SIZES)(breach)
    return bool(raised) and within and said


def is_told_to_some(breach: MisfitBreach) -> bool:
    """What is wrong with the state of a parameter is seen by the ranks that have an element of it."""
    misfit, calls = breach.misfit, breach.outcome.calls
    if not misfit.side.parallelism.flat or breach.when != "in the call" or misfit.kind not in SAID_OF_CONTENTS:
        return False
    said = SAID_OF_CONTENTS[misfit.kind]
    raised = [seen.error for seen in calls if isinstance(seen, Raised)]
    within = all(_is_said(said, error) for error in raised)
    return breach.kind in (Deadlock, Disagreement, LostFailure) and bool(raised) and within


def is_left_unsharded(breach: MisfitBreach) -> bool:
    """A module of FSDP's first version that was gathered to be loaded, and never let go of."""
    said = "Entering the ``_unshard_fsdp_state_params`` context but _unshard_params_ctx[module] is not None."
    error = breach.error
    after = breach.kind is UnexpectedFailure and breach.when == "after it"
    return after and breach.misfit.side.parallelism.flat and error is not None and error.message == said
