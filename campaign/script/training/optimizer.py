"""The optimizer of a training as source, and the steps that it takes."""

from __future__ import annotations

from collections.abc import Iterator

from worlds.training import Block, Counter, Embedding, Mlp, Side
from worlds.training.case import Layer, leaf_layers
from worlds.training.hyperparameters import learning_rate, own_options, variant_options, weight_decay

from ..text import Code, Items, indented, render
from .model import batch
from .plan import SideName, TrainingPlan

__all__ = ["evaluation_lines", "optimizer_lines", "step_helper", "step_lines"]

_STEP = '''\
def step(model, optimizer):
    """A step of the training."""
'''


def optimizer_lines(plan: TrainingPlan, name: SideName) -> list[str]:
    """The statements that make ``optimizer``; what only decides values is left out where none are compared."""
    asked, loads = plan.training.optimizer, name == "load"
    options = own_options(asked, loads=loads) if plan.compared == "groups" else {}
    options |= variant_options(asked, loads=loads) | weight_decay(asked, loads=loads)
    lines, groups = _groups(plan)
    if groups == ["model.parameters()"] and not asked.scheduled:
        parameters: Code = groups[0]
        options = dict(_rates(plan, 0, loads=loads)) | options
    else:
        parameters = Items("[", tuple(_group(plan, number, group, loads) for number, group in enumerate(groups)))
    arguments = (parameters, *(f"{key}={value}" for key, value in options.items()))
    return [*lines, render(Items(f"optimizer = torch.optim.{asked.kind}(", arguments))]


def _group(plan: TrainingPlan, number: int, parameters: str, loads: bool) -> Code:
    rates = (f'"{key}": {rate}' for key, rate in _rates(plan, number, loads=loads))
    return Items("{", (f'"params": {parameters}', *rates))


def _rates(plan: TrainingPlan, number: int, *, loads: bool) -> Iterator[tuple[str, str | float]]:
    """The learning rates of a group, if it matters what they are."""
    asked, rate = plan.training.optimizer, learning_rate(number, loads=loads)
    if asked.tensor_lr:
        yield "lr", f"torch.tensor({rate})"
    elif plan.compared == "groups":
        yield "lr", rate
    if asked.scheduled:
        yield "initial_lr", 2 * rate


def _groups(plan: TrainingPlan) -> tuple[list[str], list[str]]:
    """Statements, and the expressions for the parameters of each group."""
    asked, layers = plan.training.optimizer, plan.training.layers
    if asked.groups == "one":
        return [], ["model.parameters()"]
    lines: list[str] = []
    has_matrices = any(isinstance(layer, Mlp | Embedding) for layer in leaf_layers(layers))
    if not has_matrices:
        groups = ["[]", "model.parameters()"]
    elif all(_has_matrices_alone(layer) for layer in layers):
        groups = ["model.parameters()", "[]"]
    else:
        groups = ["matrices", "others"]
        tests = zip(groups, ("> 1", "<= 1"), strict=True)
        lines = [f"{group} = [tensor for tensor in model.parameters() if tensor.dim() {test}]" for group, test in tests]
    return lines, groups if asked.groups == "matrices first" else groups[::-1]


def _has_matrices_alone(layer: Layer) -> bool:
    if isinstance(layer, Block):
        return all(map(_has_matrices_alone, layer.layers))
    return isinstance(layer, Embedding) or (isinstance(layer, Mlp) and not layer.bias)


def step_helper(plan: TrainingPlan) -> list[str]:
    """The function that takes a step, where more than one side does."""
    if not _has_helper(plan):
        return []
    return [_STEP + "\n".join(indented(_step(plan)))]


def step_lines(plan: TrainingPlan, side: Side) -> list[str]:
    """The steps of a side."""
    step = ["step(model, optimizer)"] if _has_helper(plan) else _step(plan)
    if side.steps > 1:
        return [f"for _ in range({side.steps}):", *indented(step)]
    return step if side.steps else []


def _has_helper(plan: TrainingPlan) -> bool:
    return sum(side.steps > 0 for side in plan.sides) > 1


def _step(plan: TrainingPlan) -> list[str]:
    loss = f"model({batch(plan.training)}).square().sum()"
    return [f"{loss}.backward()", "optimizer.step()", "optimizer.zero_grad()"]


def evaluation_lines(plan: TrainingPlan, side: Side) -> list[str]:
    """A forward pass without gradients, where there is one."""
    if not side.evaluated:
        return []
    lines = ["with torch.no_grad():", f"    model({batch(plan.training)})"]
    if any(isinstance(layer, Counter) for layer in leaf_layers(plan.training.layers)):
        return ["model.eval()", *lines, "model.train()"]
    return lines
