"""The optimizer of a training as source, and the steps that it takes."""

from __future__ import annotations

from collections.abc import Iterator

from worlds.training import Again, Block, Counter, Embedding, Mlp, Optimizer, Side
from worlds.training.hyperparameters import learning_rate, own_options, variant_options, weight_decay
from worlds.training.layers import Layer, leaf_layers

from ..text import Code, Items, indented, render
from .model import batch
from .plan import SideName, TrainingPlan

__all__ = ["evaluation_lines", "optimizer_lines", "step_helper", "step_lines"]

_STEP = '''\
def step({given}):
    """A step of the training."""
'''


def optimizer_lines(plan: TrainingPlan, name: SideName) -> list[str]:
    """The statements that make ``optimizer``; what only decides values is left out where none are compared."""
    asked, loads = plan.training.optimizer, name == "load"
    if asked is None:
        return []
    lines, groups = _groups(plan, asked)
    if asked.apart:
        return [*lines, render(_apart(plan, asked, groups, loads=loads))]
    options = _options(plan, asked, loads=loads)
    if groups == ["model.parameters()"] and not asked.scheduled:
        parameters: Code = groups[0]
        options = dict(_rates(plan, asked, 0, loads=loads)) | options
    else:
        parameters = Items("[", tuple(_group(plan, asked, number, group, loads) for number, group in enumerate(groups)))
    arguments = (parameters, *(f"{key}={value}" for key, value in options.items()))
    return [*lines, render(Items(f"optimizer = torch.optim.{asked.kind}(", arguments))]


def _options(plan: TrainingPlan, asked: Optimizer, *, loads: bool) -> dict[str, object]:
    options = own_options(asked, loads=loads) if plan.compared == "groups" else {}
    return options | variant_options(asked, loads=loads) | weight_decay(asked, loads=loads)


def _apart(plan: TrainingPlan, asked: Optimizer, groups: list[str], *, loads: bool) -> Code:
    """A list of an optimizer for each group."""
    made: list[Code] = []
    kinds = (asked, asked.of_others) if asked.groups == "matrices first" else (asked.of_others, asked)
    for number, (group, kind) in enumerate(zip(groups, kinds, strict=True)):
        rates = dict(_rates(plan, asked, number, loads=loads))
        initial = [f'"initial_lr": {rates.pop("initial_lr")}'] if asked.scheduled else []
        parameters: Code = Items("[", (Items("{", (f'"params": {group}', *initial)),)) if initial else group
        options = {**rates, **_options(plan, kind, loads=loads)}
        arguments = (parameters, *(f"{key}={value}" for key, value in options.items()))
        made.append(Items(f"torch.optim.{kind.kind}(", arguments))
    return Items("optimizers = [", tuple(made))


def _group(plan: TrainingPlan, asked: Optimizer, number: int, parameters: str, loads: bool) -> Code:
    rates = (f'"{key}": {rate}' for key, rate in _rates(plan, asked, number, loads=loads))
    return Items("{", (f'"params": {parameters}', *rates))


def _rates(plan: TrainingPlan, asked: Optimizer, number: int, *, loads: bool) -> Iterator[tuple[str, str | float]]:
    """The learning rates of a group, if it matters what they are."""
    rate = learning_rate(number, loads=loads)
    if asked.tensor_lr:
        yield "lr", f"torch.tensor({rate})"
    elif plan.compared == "groups":
        yield "lr", rate
    if asked.scheduled:
        yield "initial_lr", 2 * rate


def _groups(plan: TrainingPlan, asked: Optimizer) -> tuple[list[str], list[str]]:
    """Statements, and the expressions for the parameters of each group."""
    layers = plan.training.layers
    if asked.groups == "one":
        return [], ["model.parameters()"]
    lines: list[str] = []
    has_matrices = any(isinstance(layer, Mlp | Embedding) for layer in leaf_layers(layers))
    if not has_matrices:
        groups = ["[]", "model.parameters()"]
    elif all(_has_matrices_alone(layer) for layer in layers) and not plan.training.own:
        groups = ["model.parameters()", "[]"]
    else:
        groups = ["matrices", "others"]
        tests = zip(groups, ("> 1", "<= 1"), strict=True)
        lines = [f"{group} = [tensor for tensor in model.parameters() if tensor.dim() {test}]" for group, test in tests]
    return lines, groups if asked.groups == "matrices first" else groups[::-1]


def _has_matrices_alone(layer: Layer) -> bool:
    if isinstance(layer, Block):
        return all(map(_has_matrices_alone, layer.layers))
    if isinstance(layer, Again):
        return True  # as the one that it is
    return isinstance(layer, Embedding) or (isinstance(layer, Mlp) and not layer.bias)


def step_helper(plan: TrainingPlan) -> list[str]:
    """The function that takes a step, where more than one side does."""
    if not _has_helper(plan):
        return []
    return [_STEP.format(given=plan.given) + "\n".join(indented(_step(plan)))]


def step_lines(plan: TrainingPlan, side: Side) -> list[str]:
    """The steps of a side, and the backward pass that no step has followed yet, if there is one."""
    step = [f"step({plan.given})"] if _has_helper(plan) else _step(plan)
    left = [_backward(plan)] if side.backward else []
    if not side.steps:
        return left
    closure = _closure(plan) if _takes_closure(plan) else []
    if side.steps > 1:
        return [*closure, f"for _ in range({side.steps}):", *indented(step), *left]
    return [*closure, *step, *left]


def _has_helper(plan: TrainingPlan) -> bool:
    return sum(side.steps > 0 for side in plan.sides) > 1


def _step(plan: TrainingPlan) -> list[str]:
    optimizer = plan.training.optimizer
    if optimizer is None:
        return [_backward(plan), "model.zero_grad()"]
    if _takes_closure(plan):
        return ["optimizer.step(closure)", "optimizer.zero_grad()"]
    if optimizer.apart:
        steps = ["for optimizer in optimizers:", "    optimizer.step()", "    optimizer.zero_grad()"]
        return [_backward(plan), *steps]
    return [_backward(plan), "optimizer.step()", "optimizer.zero_grad()"]


def _takes_closure(plan: TrainingPlan) -> bool:
    """Which there is at save alone: no other side takes steps then."""
    return plan.training.optimizer is not None and plan.training.optimizer.kind == "LBFGS"


def _closure(plan: TrainingPlan) -> list[str]:
    return [
        "",
        "",
        "def closure():",
        '    """What the optimizer calls, several times in a step."""',
        "    optimizer.zero_grad()",
        f"    loss = {_loss(plan)}",
        "    loss.backward()",
        "    return loss",
        "",
        "",
    ]


def _loss(plan: TrainingPlan) -> str:
    return f"model({batch(plan.training)}).square().sum()"


def _backward(plan: TrainingPlan) -> str:
    return f"{_loss(plan)}.backward()"


def evaluation_lines(plan: TrainingPlan, side: Side) -> list[str]:
    """A forward pass without gradients, where there is one."""
    if not side.evaluated:
        return []
    lines = ["with torch.no_grad():", f"    model({batch(plan.training)})"]
    if any(isinstance(layer, Counter) for layer in leaf_layers(plan.training.layers)):
        return ["model.eval()", *lines, "model.train()"]
    return lines
