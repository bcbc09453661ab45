"""Gives a training what does not fit it, and then what does, on every rank of a world."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)

from ..abandoned import Abandoned
from ..example import ExampleWorld
from ..outcome import Raised
from ..program import GroupOf, raised
from .case import Training
from .held import hold, poison_training
from .live import LiveTraining
from .misfit import OF_OPTIONS, Kind, Misfit
from .misfit_outcome import Ended, GoesOn, MisfitOutcome, Took
from .optimizer import Optimizer
from .outcome import Failed, Held
from .spoil import copied, spoil_model, spoil_optimizer

__all__ = ["run_misfit"]

_Report = tuple[Literal["name", "alone", "call"], int, Any]


def run_misfit(world: ExampleWorld, misfit: Misfit) -> MisfitOutcome:
    """What came of it on every rank."""
    size = misfit.side.parallelism.world_size
    launched = world.launch(partial(_in_rank, misfit, world.group_of, world.report_in_rank), size)
    if misfit.side.parallelism.flat:
        _collect_at_exit()
    said: dict[tuple[str, int], Any] = {(what, rank): it for what, rank, it in launched.reported}
    alone, calls = (tuple(said.get((what, rank)) for rank in range(size)) for what in ("alone", "call"))
    name = next((said["name", rank] for rank in misfit.wrong if said.get(("name", rank))), "")
    return MisfitOutcome(name, alone, calls, launched.ranks)


@cache
def _collect_at_exit() -> None:
    """Seen with torch 2.13 and 2.15: what a load that has raised leaves gathered aborts the interpreter as it ends."""
    atexit.register(gc.collect)


@dataclass(frozen=True)
class _Given:
    """What a rank gives in its calls; see :func:`torch.distributed.checkpoint.state_dict.set_state_dict`."""

    model: Any
    optim: Any
    optimizers: Any
    options: Any


def _in_rank(misfit: Misfit, group_of: GroupOf, report: Callable[[_Report], None], rank: int) -> Ended | Failed:
    training, size = misfit.training, misfit.side.parallelism.world_size
    try:
        state = _state(training)
    except Abandoned:
        raise
    except BaseException as error:
        return Failed("get", _raised(error))
    # Of their own, since some may wait for ever in what a call has begun, and others have ended it.
    group = group_of(tuple(range(size)))
    alone = _target(training)
    right = _call(misfit, alone, _right(misfit, alone, state, rank))
    report(("alone", rank, Ended(right, _go_on(misfit, alone, state, rank))))
    dist.barrier(group)
    target = _target(training)
    wrong, name = _wrong(misfit, target, state, rank)
    report(("name", rank, name))
    dist.barrier(group)
    seen = _call(misfit, target, wrong)
    report(("call", rank, seen))
    dist.barrier(group)
    return Ended(seen, _go_on(misfit, target, state, rank))


def _state(training: Training) -> dict[str, Any]:
    """The state dict of a training that has taken its steps."""
    live = LiveTraining(training, training.saved, loads=False)
    live.wrap()
    options = StateDictOptions(full_state_dict=live.side.full, flatten_optimizer_state_dict=training.flatten)
    state = {"model": copied(get_model_state_dict(live.model, options=options))}
    if live.optimizers:
        state["optim"] = copied(get_optimizer_state_dict(live.model, live.optimizers[0], options=options))
    return state


def _target(training: Training) -> LiveTraining:
    live = LiveTraining(training, training.loaded, loads=True)
    poison_training(live)
    live.wrap()
    return live


def _options(misfit: Misfit) -> StateDictOptions:
    side = misfit.side
    return StateDictOptions(
        full_state_dict=side.full,
        strict=side.strict,
        broadcast_from_rank0=side.broadcast,
        flatten_optimizer_state_dict=misfit.flatten,
    )


def _right(misfit: Misfit, live: LiveTraining, state: dict[str, Any], rank: int) -> _Given:
    """What is right; where rank 0 alone has it, others have nothing, but for the call that takes that for no model."""
    optimizers = live.optimizers[0] if live.optimizers else ()
    if misfit.side.broadcast and rank > 0 and misfit.side.calls != "together":
        return _Given({}, {}, optimizers, _options(misfit))
    return _Given(copied(state["model"]), copied(state.get("optim", {})), optimizers, _options(misfit))


def _wrong(misfit: Misfit, live: LiveTraining, state: dict[str, Any], rank: int) -> tuple[_Given, str]:
    """What the rank gives, wrong or not, and the name of what is wrong."""
    given, name = _right(misfit, live, state, rank), ""
    other = _other(misfit)  # which takes all ranks
    has_the_same = misfit.side.broadcast and misfit.side.calls == "together"
    if rank not in misfit.wrong and not has_the_same:
        return given, ""
    if misfit.kind == "optimizer of another model":
        return replace(given, optimizers=other), ""
    if misfit.kind in OF_OPTIONS:
        return replace(given, options=_wrong_options(misfit)), _OPTION[misfit.kind]
    if misfit.part == "model":
        model, name = spoil_model(misfit, given.model)
        return replace(given, model=model), name
    optim, name = spoil_optimizer(misfit, given.optim, other)
    return replace(given, optim=optim), name


_OPTION: dict[Kind, str] = {
    "broadcast without full": "full_state_dict",
    "modifiers that are no method": "dsd_fqn_modifiers",
    "dict for options": "options",
}
"""What is to be named."""


def _wrong_options(misfit: Misfit) -> Any:
    match misfit.kind:
        case "broadcast without full":
            return replace(_options(misfit), full_state_dict=False, broadcast_from_rank0=True)
        case "modifiers that are no method":
            return replace(_options(misfit), dsd_fqn_modifiers="training")
    return vars(_options(misfit))


def _other(misfit: Misfit) -> Any:
    """The state dict of another kind of optimizer, or an optimizer of another model, where that is what is wrong."""
    training, optimizer = misfit.training, misfit.optimizer
    if misfit.kind == "optimizer of another model":
        return LiveTraining(training, replace(training.loaded, steps=0), loads=True).optimizers[0]
    if misfit.kind != "state of another optimizer" or optimizer is None:
        return None
    other = Optimizer("Adam" if optimizer.kind == "SGD" else "SGD", groups=optimizer.groups)
    return _state(replace(training, optimizer=other))["optim"]


def _call(misfit: Misfit, live: LiveTraining, given: _Given) -> Took | Raised:
    try:
        if misfit.side.calls == "together":
            reported: Any = set_state_dict(
                live.model,
                given.optimizers,
                model_state_dict=given.model,
                optim_state_dict=given.optim,
                options=given.options,
            )
        elif misfit.part == "model":
            reported = set_model_state_dict(live.model, given.model, options=given.options)
        else:
            set_optimizer_state_dict(live.model, given.optimizers, given.optim, options=given.options)
            reported = None
    except Abandoned:
        raise
    except BaseException as error:
        return _raised(error)
    missing, unexpected = ((), ()) if reported is None else map(tuple, reported)
    return Took(missing, unexpected, _held(live))


def _raised(error: BaseException) -> Raised:
    return raised(error, _NO_PATH, ())


_NO_PATH = "\0"
"""No text that an error could have in the place of a checkpoint's path."""


def _go_on(misfit: Misfit, live: LiveTraining, state: dict[str, Any], rank: int) -> GoesOn | Failed:
    """What comes of the calls on what is right, and of a step."""
    name = "set"
    try:
        right = _right(replace(misfit, side=replace(misfit.side, calls="model first")), live, state, rank)
        set_model_state_dict(live.model, right.model, options=right.options)
        if live.optimizers:
            set_optimizer_state_dict(live.model, right.optimizers, right.optim, options=right.options)
        loaded = _held(live)
        name = "step"
        live.step()
    except Abandoned:
        raise
    except BaseException as error:
        return Failed(name, _raised(error))
    return GoesOn(loaded, _held(live))


def _held(live: LiveTraining) -> Held | str:
    """What the rank holds, by name: a state dict has no order."""
    try:
        held = hold(live)
        return Held(tuple(sorted(held.tensors, key=lambda named: named[0])), tuple(sorted(held.values)))
    except ValueError as error:  # it holds what no training does
        return str(error)
