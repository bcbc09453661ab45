"""The calls that save a training, and that load it, as source."""

from __future__ import annotations

from worlds.training import Block, Side, Training

from ..text import Items, quoted, render
from .plan import SideName, TrainingPlan

__all__ = ["called", "get_lines", "load_line", "options_lines", "save_line", "set_lines"]


def options_lines(plan: TrainingPlan, name: SideName) -> list[str]:
    """The statement that makes ``options``, where there are any, and they are not those of the save."""
    options = _options(plan.training, plan.side(name), name)
    if not options or (name == "load" and options == _options(plan.training, plan.side("save"), "save")):
        return []
    return [render(Items("options = StateDictOptions(", options))]


def _options(training: Training, side: Side, name: SideName) -> tuple[str, ...]:
    said = {
        "full_state_dict": side.full,
        "cpu_offload": side.offload,
        "ignore_frozen_params": training.ignore_frozen,
        "broadcast_from_rank0": side.broadcast,
        "flatten_optimizer_state_dict": training.flatten,
    }
    modifiers = training.modifiers
    named = [] if modifiers == "_fqn_modifiers" else [f"dsd_fqn_modifiers={quoted(modifiers)}"]
    strict = [] if side.strict or name == "save" else ["strict=False"]
    keep = [] if training.keep_prefixes else ["keep_submodule_prefixes=False"]
    return (*(f"{option}=True" for option, on in said.items() if on), *keep, *named, *strict)


def _call(plan: TrainingPlan, name: SideName, function: str, *arguments: str) -> Items:
    options = ["options=options"] if _options(plan.training, plan.side(name), name) else []
    return Items(f"{function}(", (*arguments, *options))


def _get_call(plan: TrainingPlan, name: SideName, function: str, *arguments: str) -> Items:
    submodules = ", ".join(_submodule(plan, place) for place in plan.side(name).submodules)
    return _call(plan, name, function, *arguments, *([f"submodules={{{submodules}}}"] if submodules else []))


def _submodule(plan: TrainingPlan, place: int) -> str:
    nested = plan.training.nested and isinstance(plan.training.layers[place], Block)
    return f"model[{place}][0]" if nested else f"model[{place}]"


def get_lines(plan: TrainingPlan, name: SideName) -> list[str]:
    """The statements that make ``state``, the state dict to save or to load into."""
    side, optimizers = plan.side(name), plan.optimizers
    if side.calls == "together":
        call = _get_call(plan, name, "model_state, optim_state = get_state_dict", "model", optimizers)
        if plan.training.optimizer is None:
            return [render(call), 'state = {"model": model_state}']
        return [render(call), 'state = {"model": model_state, "optim": optim_state}']
    calls = {
        "model": _get_call(plan, name, '"model": get_model_state_dict', "model"),
        "optim": _get_call(plan, name, '"optim": get_optimizer_state_dict', "model", optimizers),
    }
    return [render(Items("state = {", tuple(calls[part] for part in _order(plan, side))))]


def set_lines(plan: TrainingPlan) -> list[str]:
    """The statements that take over what was loaded into ``state``."""
    state = 'state["model"]'
    if not plan.training.keep_prefixes:
        state = f"{{{_submodule(plan, plan.training.loaded.submodules[0])}: {state}}}"
    if plan.training.loaded.calls == "together":
        optim = "{}" if plan.training.optimizer is None else 'state["optim"]'
        states = (f"model_state_dict={state}", f"optim_state_dict={optim}")
        return [render(_call(plan, "load", "set_state_dict", "model", plan.optimizers, *states))]
    calls = {
        "model": _call(plan, "load", "set_model_state_dict", "model", state),
        "optim": _call(plan, "load", "set_optimizer_state_dict", "model", plan.optimizers, 'state["optim"]'),
    }
    return [render(calls[part]) for part in _order(plan, plan.training.loaded)]


def save_line(plan: TrainingPlan) -> str:
    """The statement that saves ``state``."""
    if plan.training.api == "async":
        return f"dcp.async_save({_where(plan, 'save')}).result()"
    return f"dcp.save({_where(plan, 'save')})"


def load_line(plan: TrainingPlan) -> str:
    """The statement, or the statements, that load into ``state``."""
    if plan.training.loaded.unasked:
        return _UNASKED
    return f"dcp.load({_where(plan, 'load')})"


_UNASKED = """\
dcp.load({"model": state["model"]}, checkpoint_id=path)
reader = dcp.FileSystemReader(path)
state["optim"] = load_sharded_optimizer_state_dict(state["model"], "optim", reader)["optim"]"""


def _where(plan: TrainingPlan, name: SideName) -> str:
    return f"state, checkpoint_id=path{', process_group=group' if plan.is_partial(name) else ''}"


def called(plan: TrainingPlan, name: SideName) -> list[str]:
    """The functions that are called on a side, in their order."""
    side = plan.side(name)
    parts = {"model": "model_", "optim": "optimizer_"}
    kinds = [""] if side.calls == "together" else [parts[part] for part in _order(plan, side)]
    if name == "load":
        return ["load", *(f"set_{kind}state_dict" for kind in kinds)]
    save = "async_save" if plan.training.api == "async" else "save"
    return [*(f"get_{kind}state_dict" for kind in kinds), save]


def _order(plan: TrainingPlan, side: Side) -> tuple[str, ...]:
    parts = ("model",) if plan.training.optimizer is None else ("model", "optim")
    return parts if side.calls == "model first" else parts[::-1]
