"""The ledger of what goes wrong in released torch where a training is given what does not fit it, and its check."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from properties.check import KNOWN_HITS
from properties.judged import count_judged
from properties.ledger import LedgerEntry, first_match
from properties.violations import (
    Deadlock,
    Disagreement,
    LostFailure,
    NotRefused,
    UnclearRefusal,
    UnexpectedFailure,
    WrongBits,
)
from strategies.misfit_features import misfit_features
from worlds.example import ExampleWorld
from worlds.outcome import Raised
from worlds.training import Counter, Embedding, Failed, Mlp, Norm, Optimizer, Parallelism, Scale, Side
from worlds.training.layers import leaf_layers
from worlds.training.misfit import AT_ONCE, Kind, Misfit
from worlds.training.misfit_outcome import Ended, Took
from worlds.training.run_misfit import run_misfit

from .facts import STATE_DICT
from .judge_misfit import MisfitBreach, judge_misfit

__all__ = ["MISFIT_ISSUES", "MisfitIssue", "check_misfit", "find_misfit_issue"]


@dataclass(frozen=True, kw_only=True)
class MisfitIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of what does not fit a training."""

    misfit: Misfit
    matches: Callable[[MisfitBreach], bool]


def check_misfit(misfit: Misfit, world: ExampleWorld) -> None:
    """Raise the first violation that is no known issue, if the law breaks; the others are counted, each once."""
    __tracebackhide__ = True
    count_judged(misfit_features(misfit))
    met = set()
    for breach in judge_misfit(misfit, run_misfit(world, misfit)):
        known = find_misfit_issue(breach)
        if known is None:
            breach.violation().throw()
        met.add(known.id)
    KNOWN_HITS.update(met)


def find_misfit_issue(breach: MisfitBreach) -> MisfitIssue | None:
    """The entry for the breach, if it is known for the installed torch."""
    return first_match(MISFIT_ISSUES.values(), lambda issue: issue.matches(breach))


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


def _is_told_alone(breach: MisfitBreach) -> bool:
    """The ranks to which it was given raised before they took part in anything, and others wait."""
    misfit, calls = breach.misfit, breach.outcome.calls
    if breach.kind is not Deadlock or breach.when != "in the call" or misfit.kind not in _IN_STATE_DICT:
        return False
    raised = [rank for rank, seen in enumerate(calls) if isinstance(seen, Raised)]
    early = all(_origin(breach, rank).startswith(_BEFORE) for rank in raised)
    return raised == [*misfit.wrong] and early


_BEFORE = (STATE_DICT, "torch/distributed/_state_dict_utils.py:_unflatten_state_dict")


def _origin(breach: MisfitBreach, rank: int) -> str:
    seen = breach.outcome.calls[rank]
    return seen.origin if isinstance(seen, Raised) else ""


def _says(said: Mapping[Kind, str]) -> Callable[[MisfitBreach], bool]:
    """Whether a rank is refused by such an error, as ``type: message``, of what is of that kind."""

    def matches(breach: MisfitBreach) -> bool:
        error, pattern = breach.error, said.get(breach.misfit.kind)
        if breach.kind is not UnclearRefusal or error is None or pattern is None:
            return False
        return re.fullmatch(pattern, f"{error.type}: {error.message}", re.DOTALL) is not None

    return matches


def _took(breach: MisfitBreach) -> bool:
    """Whether ranks to which what is wrong was given took it, and hold something else now than they should."""
    for rank in breach.misfit.alike:
        seen, alone = breach.outcome.calls[rank], breach.outcome.alone[rank]
        if isinstance(seen, Took) and alone is not None and isinstance(alone.call, Took) and seen != alone.call:
            return True
    return False


_SAID_OF_TYPES: dict[Kind, str] = {
    "dict for options": "AttributeError: 'dict' object has no attribute 'broadcast_from_rank0'",
    "modifiers that are no method": "TypeError: 'bool' object is not callable",
    "object for a model tensor": r"AttributeError: 'int' object has no attribute '\w+'",
    "list for the model's state": "AttributeError: 'list' object has no attribute 'keys'",
    "list for the optimizer's state": "TypeError: list indices must be integers or slices, not str",
}
_FLAT_GROUPS = r"KeyError: 'param_groups\.[\w.]+'"
_SAID_OF_PARTS: dict[Kind, str] = {
    "no state": rf"{_FLAT_GROUPS}|IndexError: list index out of range|AttributeError: 'dict' object has no .*",
    "no param_groups": rf"KeyError: 'param_groups'|{_FLAT_GROUPS}",
    "hyperparameter missing": _FLAT_GROUPS,
    "state of another optimizer": r"KeyError: '(param_groups|state)\.[\w.]+'",
    "parameter too many in a group": "KeyError: 'nobody'",
    "parameter ids for names": r"KeyError: ('state\.\d+\.\w+'|\d+)|"
    "AttributeError: 'int' object has no attribute 'unflat_param_names'",
}
_OF_GROUPS: tuple[Kind, ...] = ("no groups", "hyperparameter missing", "parameter missing in a group")
_OF_CONTENTS: tuple[Kind, ...] = (
    "state of more rows",
    "object for a state",
    "state of a parameter in part",
)
_OF_FLAT_CONTENTS: tuple[Kind, ...] = ("state of a parameter missing", "no state")
"""What is seen where the optimizer's state dict is not flattened."""


def _takes(*kinds: Kind) -> Callable[[MisfitBreach], bool]:
    """Whether ranks took what is of such a kind, or cannot take what is right after that."""

    def matches(breach: MisfitBreach) -> bool:
        if breach.misfit.kind not in kinds:
            return False
        if breach.when == "after it":
            return _took(breach) and _is_left_with_it(breach)
        return breach.kind is NotRefused

    return matches


def _takes_contents(breach: MisfitBreach) -> bool:
    kinds = (*_OF_CONTENTS, *_OF_FLAT_CONTENTS) if breach.misfit.flatten else _OF_CONTENTS
    return _takes(*kinds)(breach)


def _has_no_state_at_all(breach: MisfitBreach) -> bool:
    """The state of the only parameter is missing, so that no key is left, all of which pass for numbers."""
    kinds = {Norm: 2, Mlp: 2, Scale: 1, Counter: 0}
    layers = list(leaf_layers(breach.misfit.layers))
    count = sum(2 - layer.tied if isinstance(layer, Embedding) else kinds.get(type(layer), 2) for layer in layers)
    return count == 1 and _takes("state of a parameter missing")(breach)


def _is_left_with_it(breach: MisfitBreach) -> bool:
    """Whether what is right fails for what a rank had taken, or is not taken over for that, or others wait for it."""
    if breach.kind is not Deadlock:
        return breach.kind in (UnexpectedFailure, WrongBits)
    return any(isinstance(end, Ended) and isinstance(end.then, Failed) for end in breach.outcome.ranks)


_SAID_OF_ANOTHER_MODEL: dict[Kind, str] = {
    "optimizer of another model": r"KeyError: (Parameter containing:.*|DTensor\(.*|'[\w.]+'|\d+)"
}
_SAID_OF_CONTENTS: dict[Kind, str] = {
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


def _is_missed_in_full(breach: MisfitBreach) -> bool:
    """A key is missing, and what the model has itself under that name stands for it."""
    side = breach.misfit.side
    kept = side.full and not (side.broadcast and side.strict)
    missed = breach.kind is NotRefused and breach.misfit.kind == "model key missing"
    return kept and (missed or _says(_SAID_OF_MARKERS)(breach))


def _is_no_model(breach: MisfitBreach) -> bool:
    """What is empty, or comes to nothing, is taken for there being no model to load, by some ranks, or by all."""
    misfit = breach.misfit
    alone = misfit.kind == "model key missing" and misfit.layers == (Scale(),)
    if not alone and misfit.kind != "model's state of another module":
        return False
    if breach.kind is Deadlock:
        return breach.when == "in the call" and _took(breach)
    return breach.kind is NotRefused or _says(_SAID_OF_NOTHING)(breach)


_SAID_OF_NOTHING: dict[Kind, str] = {
    "model's state of another module": "RuntimeError: Optimizers are not passed in but optim_only is set to True.",
    "model key missing": "RuntimeError: Optimizers are not passed in but optim_only is set to True.",
}


def _is_too_many_for_rank_0(breach: MisfitBreach) -> bool:
    calls = breach.outcome.calls
    alone = isinstance(calls[0], Raised) and all(isinstance(seen, Took) for seen in calls[1:])
    return breach.kind is LostFailure and breach.misfit.kind == "model key too many" and alone


def _is_copied_as_it_is(breach: MisfitBreach) -> bool:
    """A tensor that is broadcast is copied into what each rank has of it, without a look at its size."""
    misfit = breach.misfit
    if not misfit.is_broadcast or misfit.kind not in _SAID_OF_SIZES:
        return False
    if breach.kind is NotRefused:
        return misfit.kind == "model tensor of one row"
    raised = [seen for seen in breach.outcome.calls if isinstance(seen, Raised)]
    within = all(seen.origin == "torch/distributed/_state_dict_utils.py:_distribute_tensors" for seen in raised)
    said = breach.kind in (Deadlock, Disagreement, LostFailure) or _says(_SAID_OF_SIZES)(breach)
    return bool(raised) and within and said


def _is_told_to_some(breach: MisfitBreach) -> bool:
    """What is wrong with the state of a parameter is seen by the ranks that have an element of it."""
    misfit, calls = breach.misfit, breach.outcome.calls
    if not misfit.side.parallelism.flat or breach.when != "in the call" or misfit.kind not in _SAID_OF_CONTENTS:
        return False
    said = _SAID_OF_CONTENTS[misfit.kind]
    raised = [seen.error for seen in calls if isinstance(seen, Raised)]
    within = all(re.fullmatch(said, f"{error.type}: {error.message}", re.DOTALL) for error in raised)
    return breach.kind in (Deadlock, Disagreement, LostFailure) and bool(raised) and within


def _is_left_unsharded(breach: MisfitBreach) -> bool:
    """A module of FSDP's first version that was gathered to be loaded, and never let go of."""
    said = "Entering the ``_unshard_fsdp_state_params`` context but _unshard_params_ctx[module] is not None."
    error = breach.error
    after = breach.kind is UnexpectedFailure and breach.when == "after it"
    return after and breach.misfit.side.parallelism.flat and error is not None and error.message == said


_FLAT = Parallelism(data=2, flat=True)
_ISSUES = (
    MisfitIssue(
        id="misfit-refused-alone",
        title="a rank that gives set_…_state_dict() what does not fit is refused before it takes part, and others wait",
        loses="with broadcast_from_rank0, what rank 0 is told, as that state is missing, nobody reads: the others hang",
        misfit=Misfit(
            "state of a parameter missing",
            optimizer=Optimizer(variant=True),
            side=Side(parallelism=Parallelism(2), calls="model first", full=True, broadcast=True),
        ),
        matches=_is_told_alone,
    ),
    MisfitIssue(
        id="misfit-types-unchecked",
        title="a state dict, or options, of another type are refused by what something within lacks",
        loses="who gives a dict for StateDictOptions, or a list for a state dict, is told of 'keys', and not of that",
        misfit=Misfit("dict for options"),
        matches=_says(_SAID_OF_TYPES),
    ),
    MisfitIssue(
        id="misfit-optimizer-parts",
        title='an optimizer\'s state dict without "state", or without "param_groups", raises a KeyError of a name',
        loses="the state dict of Optimizer.state_dict(), or half of one, is refused by a KeyError that names neither",
        misfit=Misfit("no param_groups", optimizer=Optimizer(), side=Side(calls="model first")),
        matches=_says(_SAID_OF_PARTS),
    ),
    MisfitIssue(
        id="misfit-optimizer-of-another-model",
        title="an optimizer whose parameters are not the model's raises a KeyError of a tensor, or is loaded by itself",
        loses="an optimizer made before the model was wrapped is told of by KeyError, and all values of a parameter",
        misfit=Misfit("optimizer of another model", optimizer=Optimizer(), side=Side(calls="model first", whole="DDP")),
        matches=lambda breach: _says(_SAID_OF_ANOTHER_MODEL)(breach) or _takes("optimizer of another model")(breach),
    ),
    MisfitIssue(
        id="misfit-state-unchecked",
        title="set_optimizer_state_dict() looks at neither sizes, types nor names of a parameter's state",
        loses="Adam's moments of another model are taken without a word, and the next step fails, or is wrong",
        misfit=Misfit("state of more rows", optimizer=Optimizer(variant=True), side=Side(calls="model first")),
        matches=lambda breach: _says(_SAID_OF_CONTENTS)(breach) or _takes_contents(breach),
    ),
    MisfitIssue(
        id="misfit-all-state-missing",
        title="a strict set_optimizer_state_dict() takes a state dict without any state for one of numbers",
        loses="a checkpoint that was saved before the first step is loaded strictly, and Adam starts anew in silence",
        misfit=Misfit(
            "state of a parameter missing", (Scale(),), Optimizer(variant=True), side=Side(calls="model first")
        ),
        matches=_has_no_state_at_all,
    ),
    MisfitIssue(
        id="misfit-groups-unchecked",
        title="set_optimizer_state_dict() drops the hyperparameters of a group that the state dict has not",
        loses="an optimizer is left without a learning rate, and the next step raises KeyError: 'lr'",
        misfit=Misfit("no groups", optimizer=Optimizer(variant=True), side=Side(calls="model first")),
        matches=_takes(*_OF_GROUPS),
    ),
    MisfitIssue(
        id="misfit-another-optimizer",
        title="set_optimizer_state_dict() takes the state dict of another kind of optimizer, and then no right one",
        loses="Adam is left with SGD's hyperparameters, and to load its own raises KeyError: 'betas'",
        misfit=Misfit("state of another optimizer", optimizer=Optimizer("Adam"), side=Side(calls="model first")),
        matches=_takes("state of another optimizer"),
    ),
    MisfitIssue(
        id="misfit-numbers-taken",
        title="with broadcast_from_rank0, the numbers of parameters are taken for names of others, and stay",
        loses="what Optimizer.state_dict() gives is loaded beside the rest, and the next load raises KeyError: '0'",
        misfit=Misfit(
            "parameter ids for names",
            optimizer=Optimizer(variant=True),
            side=Side(calls="model first", full=True, broadcast=True),
        ),
        matches=_takes("parameter ids for names"),
    ),
    MisfitIssue(
        id="misfit-full-misses-nothing",
        title="with full_state_dict, a strict set_model_state_dict() takes a state dict of which keys are missing",
        loses="a parameter that is not in the checkpoint keeps its random values, and nobody is told",
        misfit=Misfit(side=Side(full=True)),
        matches=_is_missed_in_full,
    ),
    MisfitIssue(
        id="misfit-no-model",
        title="set_…_state_dict() takes the model's state dict of a module that is not in it, and loads nothing",
        loses="what is given by a module that was replaced since is not loaded, and nobody is told, by strict neither",
        misfit=Misfit("model's state of another module", optimizer=Optimizer()),
        matches=_is_no_model,
    ),
    MisfitIssue(
        id="misfit-too-many-for-rank-0",
        title="with broadcast_from_rank0, rank 0 alone is told of a key too many, and the other ranks go on",
        loses="rank 0 raises and the others train on, until they wait for it for ever",
        misfit=Misfit(
            "model key too many", side=Side(parallelism=Parallelism(2), calls="model first", full=True, broadcast=True)
        ),
        matches=_is_too_many_for_rank_0,
    ),
    MisfitIssue(
        id="misfit-broadcast-sizes",
        title="with broadcast_from_rank0, a tensor of another size is copied into a DTensor as broadcasting has it",
        loses="a bias of one element fills the whole one, in silence, and others are refused without their name",
        misfit=Misfit(
            "model tensor of one row",
            side=Side(parallelism=Parallelism(data=1), calls="model first", full=True, broadcast=True),
            width=2,
        ),
        matches=_is_copied_as_it_is,
    ),
    MisfitIssue(
        id="misfit-told-to-some",
        title="with FSDP's first version, ranks without an element of a parameter are not told that its state is wrong",
        loses="some ranks raise KeyError: 'step', and the others train on, or wait for them",
        misfit=Misfit("state of a parameter in part", optimizer=Optimizer("Adam"), side=Side(parallelism=_FLAT)),
        matches=_is_told_to_some,
    ),
    MisfitIssue(
        id="misfit-left-unsharded",
        title="FSDP's first version stays gathered where a load has raised, and takes no load any more",
        loses="once a load was refused, the one that fits raises an AssertionError, and so does any other",
        misfit=Misfit(
            layers=(Norm(), Counter(extra=True)),
            side=Side(parallelism=_FLAT, calls="model first", full=True, broadcast=True, strict=False),
            last=True,
        ),
        matches=_is_left_unsharded,
    ),
)
MISFIT_ISSUES = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
