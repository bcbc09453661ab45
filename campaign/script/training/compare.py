"""What a script compares of a training: what is held by name, before and after."""

from __future__ import annotations

from worlds.training import Counter
from worlds.training.layers import leaf_layers

from .plan import TrainingPlan

__all__ = ["compare_helpers", "comparison", "fill_lines", "held_call", "lost_lines"]

_TEXT = '''\
def text(value):
    """``value`` as text; a tensor with all its elements."""
{whole}    if not isinstance(value, torch.Tensor):
        return repr(value)
    return f"tensor({{value.tolist()}}{dtype})"'''
_WHOLE = """\
    if isinstance(value, DTensor):
        value = value.full_tensor()
"""
_MODEL = '''\
def held(model):
    """The text of each parameter and buffer, by its name."""
    return {f"model.{name}": text(value) for name, value in model.state_dict().items()}'''
_FROZEN = '''\
def held(model):
    """The text of each frozen parameter, by its names."""
    return {
        f"model.{name}": text(value)
        for name, value in model.named_parameters(remove_duplicate=False)
        if not value.requires_grad
    }'''
_STATE = '''\
def held(model, optimizer):
    """The text of each state of the optimizer, by its name."""
    names = {names}
    return {{
        f"{{names[parameter]}}.{{key}}": text(value)
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }}'''
_NAMES = '{parameter: f"optim.state.{name}" for name, parameter in model.named_parameters()}'
_FLAT_NAMES = """{
        parameter: f"optim.state.{name.replace('_fsdp_wrapped_module.', '')}"
        for name, parameter in model.named_parameters()
    }"""
_EMPTY_STATE = '''\
def held(model, optimizer):
    """The names that the optimizer's state has for each parameter of which there is state."""
    names = {parameter: f"optim.state.{name}" for name, parameter in model.named_parameters()}
    return {names[parameter]: list(state) for parameter, state in optimizer.state.items()}'''
_GROUPS = '''\
def held(optimizer):
    """The text of each hyperparameter, by its name."""
    return {{
        f"optim.param_groups.{{number}}.{{key}}": {text}(value)
        for number, group in enumerate(optimizer.param_groups)
        for key, value in group.items()
        if key != "params"
    }}'''
_COMPARISON = """\
wrong = [name for name in {a} | {b} if {a}.get(name) != {b}.get(name)]
for name in wrong:
    {was}, {now} = {a}.get(name, "nothing"), {b}.get(name, "nothing")
    print(f"{rank}{{name}}: {first} {{{was}}}, {second} {{{now}}}")
if wrong:
    sys.exit("{wrong}")"""


def compare_helpers(plan: TrainingPlan) -> list[str]:
    """The functions that say what a training holds of the part that is compared."""
    shards = any(plan.has_mesh(name) for name in plan.names)
    of_dtype = "" if plan.training.dtype == "float32" else ", {value.dtype}"
    text = _TEXT.format(whole=_WHOLE if shards else "", dtype=of_dtype)
    match plan.compared:
        case None:
            return []
        case "model":
            return [text, _FROZEN if plan.is_left_out else _MODEL]
        case "state":
            return (
                [_EMPTY_STATE]
                if plan.may_be_empty
                else [text, _STATE.format(names=_FLAT_NAMES if plan.is_flat else _NAMES)]
            )
        case "groups":
            has_text = plan.training.optimizer is not None and plan.training.optimizer.tensor_lr
            groups = _GROUPS.format(text="text" if has_text else "repr")
            return [text, groups] if has_text else [groups]


def held_call(plan: TrainingPlan) -> str:
    """The call that says it."""
    arguments = {"model": "model", "state": "model, optimizer", "groups": "optimizer"}
    assert plan.compared is not None
    return f"held({arguments[plan.compared]})"


def fill_lines(plan: TrainingPlan) -> list[str]:
    """The statements that fill what is compared with what was never saved."""
    if plan.compared == "state":
        return [
            "for kept in optimizer.state.values():",
            "    for tensor in kept.values():",
            "        tensor.fill_(-1)  # so that what is not loaded shows",
        ]
    counts = any(isinstance(layer, Counter) for layer in leaf_layers(plan.training.layers))
    tensors = "(*model.parameters(), *model.buffers())" if counts else "model.parameters()"
    return [
        "with torch.no_grad():",
        f"    for tensor in {tensors}:",
        "        tensor.fill_(-1)  # so that it shows what is loaded",
    ]


def lost_lines() -> list[str]:
    """The statements that end with status 1 where names have gone from what was given to be loaded."""
    return [
        'lost = names - set(state["model"])',
        "if lost:",
        '    sys.exit(f"these names have gone from what was given to be loaded: {lost}")',
    ]


def comparison(plan: TrainingPlan) -> str:
    """The statements that compare, and end with status 1 where something is other than it should be."""
    rank = "[rank {rank}] " if plan.ranks > 1 else ""
    words = {"a": "before", "b": "after", "was": "was", "now": "now", "first": "was", "second": "is now", "rank": rank}
    if plan.changes:
        return _COMPARISON.format(**words, wrong="saving has changed what is saved")
    if plan.is_left_out:
        return _COMPARISON.format(**words, wrong="what was to be ignored has been loaded")
    words |= {"a": "saved", "b": "loaded", "was": "one", "now": "other", "first": "saved", "second": "loaded"}
    return _COMPARISON.format(**words, wrong="what was loaded is not what was saved")
