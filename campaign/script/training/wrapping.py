"""What a module and its layers are wrapped in, as source."""

from __future__ import annotations

from worlds.training import Again, Side, Training

from ..known import CannotWrite

__all__ = ["wrapper_lines"]

_LAYERS = {"compiled": "torch.compile", "checkpointed": "checkpoint_wrapper"}


def wrapper_lines(training: Training, side: Side) -> list[str]:
    """The statements that wrap ``model``; it is the wrapper then."""
    if side.each != "bare" or side.whole != "bare":
        _check(training, side)
    lines = []
    if side.each != "bare":
        wrapped = f"model[place] = {_LAYERS[side.each]}(model[place])"
        lines = ["for place in range(len(model)):", f"    {wrapped}"]
    for wrapper in reversed(side.whole.split()):
        if wrapper == "DDP":
            lines.append("model = DistributedDataParallel(model)")
        elif wrapper == "compiled":
            lines.append("model = torch.compile(model)")
    return lines


def _check(training: Training, side: Side) -> None:
    if side.evaluated:
        raise CannotWrite("there is no script for an evaluation of what is wrapped after it yet")
    if side.submodules:
        raise CannotWrite("there is no script for submodules of what is wrapped yet")
    if side.each != "bare" and any(isinstance(layer, Again) for layer in training.layers):
        raise CannotWrite("there is no script for layers that are wrapped and come again yet")
