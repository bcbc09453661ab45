"""What one rank does with a training: step, and save it; or make another one, and load what was saved."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.optimizer import load_sharded_optimizer_state_dict
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)

from ..abandoned import Abandoned
from ..calls import hold_upload
from ..program import raised
from .case import Training
from .held import hold, poison, poison_training
from .layers import Block
from .live import LiveTraining
from .outcome import Failed, Held, Loaded, Saved

__all__ = ["HAS_SUBMODULES", "load_training", "save_training"]

HAS_SUBMODULES = "keep_submodule_prefixes" in {option.name for option in fields(StateDictOptions)}
"""Whether torch takes them: deprecated, and said to be gone from 2.5 on, they still are in 2.15."""

T = TypeVar("T")


class _CallFailed(Exception):
    """Ends what the rank does; the parts of torch that are not under test raise what they raise."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.call)
        self.failed = failed


def save_training(training: Training, path: str, rank: int) -> Saved | Failed:
    """Take the steps, and save to the directory ``path``, in whatever ``torch.distributed`` is set up."""
    live = LiveTraining(training, training.saved, loads=False)
    before = hold(live)
    if training.saved.evaluated:
        live.evaluate()
    live.wrap()
    try:
        state = _call("get", path, lambda: _get(live))
        return Saved(before, _call("save", path, lambda: _save(live, state, path)))
    except _CallFailed as stop:
        return stop.failed


def load_training(training: Training, path: str, rank: int) -> Loaded | Failed:
    """Make the training of the side that loads, poison it, and load from the directory ``path``."""
    live = LiveTraining(training, training.loaded, loads=True)
    # Where that has no memory, another one has, into which the file is read.
    reader = LiveTraining(training, replace(live.side, meta=False), loads=True) if live.side.meta else live
    poison_training(reader)
    if training.loaded.evaluated:
        reader.evaluate()
    reader.wrap()
    try:
        state = _call("get", path, lambda: _get(reader))
        poison_training(reader)  # the optimizer's state too, which may be new
        poison(state)
        before = hold(reader)
        _call(
            "load",
            path,
            lambda: _load_unasked(state, path) if live.side.unasked else dcp.load(state, checkpoint_id=path),
        )
        given = list(state["model"])
        _call("set", path, lambda: _set_new(live, reader, state) if live.side.meta else _set(live, state))
    except _CallFailed as stop:
        return stop.failed
    return Loaded(before, hold(live), tuple(name for name in given if name not in state["model"]))


def _load_unasked(state: dict[str, Any], path: str) -> None:
    """Load the model's state, and then whatever there is of the optimizer's."""
    model = {"model": state["model"]}
    dcp.load(model, checkpoint_id=path)
    found = load_sharded_optimizer_state_dict(state["model"], "optim", dcp.FileSystemReader(path))
    state["optim"] = found["optim"]


def _set_new(live: LiveTraining, reader: LiveTraining, state: dict[str, Any]) -> None:
    """Into a module on the meta device, and then into optimizers that are made of what it has."""
    options = _options(live)
    set_model_state_dict(live.model, state["model"], options=options)
    live.materialised(reader)
    if live.optimizers:
        set_optimizer_state_dict(live.model, _given(live), state["optim"], options=options)


def _call(name: str, path: str, function: Callable[[], T]) -> T:
    try:
        return function()
    except Abandoned:
        raise
    except BaseException as error:
        raise _CallFailed(Failed(name, raised(error, path, ()))) from None


def _options(live: LiveTraining) -> StateDictOptions:
    side = live.side
    prefixes: dict[str, Any] = {} if live.training.keep_prefixes else {"keep_submodule_prefixes": False}
    return StateDictOptions(
        full_state_dict=side.full,
        cpu_offload=side.offload,
        ignore_frozen_params=live.training.ignore_frozen,
        strict=side.strict,
        broadcast_from_rank0=side.broadcast,
        flatten_optimizer_state_dict=live.training.flatten,
        dsd_fqn_modifiers=live.training.modifiers,
        **prefixes,
    )


def _get(live: LiveTraining) -> dict[str, Any]:
    """The state dict to save, or to load into, by the calls that the side asks for."""
    model, optimizer, options = live.model, _given(live), _options(live)
    asked = {_submodule(live, place) for place in live.side.submodules}
    submodules: dict[str, Any] = {"submodules": asked} if asked else {}
    if live.side.calls == "together":
        both = get_state_dict(model, optimizer, options=options, **submodules)
        return dict(zip(_parts(live), both, strict=False))
    parts: dict[str, Callable[[], Any]] = {
        "model": lambda: get_model_state_dict(model, options=options, **submodules),
        "optim": lambda: get_optimizer_state_dict(model, optimizer, options=options, **submodules),
    }
    return {name: parts[name]() for name in _order(live)}


def _set(live: LiveTraining, state: dict[str, Any]) -> None:
    model, optimizer, options = live.model, _given(live), _options(live)
    of_model: Any = (
        state["model"] if live.training.keep_prefixes else {_submodule(live, live.side.submodules[0]): state["model"]}
    )
    if live.side.calls == "together":
        of_optimizer = state.get("optim", {})
        set_state_dict(model, optimizer, model_state_dict=of_model, optim_state_dict=of_optimizer, options=options)
        return
    for name in _order(live):
        if name == "model":
            set_model_state_dict(model, of_model, options=options)
        else:
            set_optimizer_state_dict(model, optimizer, state["optim"], options=options)


def _submodule(live: LiveTraining, place: int) -> Any:
    module: Any = live.module[place]
    return module[0] if live.training.nested and isinstance(live.training.layers[place], Block) else module


def _given(live: LiveTraining) -> Any:
    """The optimizers as DCP is given them: one by itself."""
    return live.optimizers[0] if len(live.optimizers) == 1 else live.optimizers


def _parts(live: LiveTraining) -> tuple[str, ...]:
    return ("model", "optim") if live.optimizers else ("model",)


def _order(live: LiveTraining) -> tuple[str, ...]:
    return _parts(live) if live.side.calls == "model first" else _parts(live)[::-1]


def _save(live: LiveTraining, state: dict[str, Any], path: str) -> Held:
    """Save ``state``, and say what the rank holds then.

    What an asynchronous save is given is overwritten before it is written, as a training does that goes on.
    """
    writer = dcp.FileSystemWriter(path)
    if live.training.api == "save":
        dcp.save(state, checkpoint_id=path, storage_writer=writer)
        return hold(live)
    overwritten = threading.Event()
    hold_upload(writer, overwritten)
    try:
        upload: Any = dcp.async_save(state, checkpoint_id=path, storage_writer=writer)
        after = hold(live)
        poison_training(live)
        overwritten.set()
        upload.result()
    finally:
        overwritten.set()
    return after
