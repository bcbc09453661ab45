"""What is wrong with a state dict that does not fit a training, as source."""

from __future__ import annotations

from collections.abc import Mapping

from worlds.training.misfit import Kind, Misfit
from worlds.training.spoil import NOBODY, OBJECT

from ..known import CannotWrite
from ..text import quoted

__all__ = ["spoil_lines"]

_MODEL: Mapping[Kind, str] = {
    "model key missing": "del model_state[{name}]",
    "model key too many": "model_state[{nobody}] = torch.ones(1)",
    "model tensor of more rows": "model_state[{name}] = torch.cat([model_state[{name}]] * 2)",
    "model tensor of one row": "model_state[{name}] = model_state[{name}][:1].clone()",
    "object for a model tensor": "model_state[{name}] = {object}",
    "list for the model's state": "model_state = list(model_state)",
    "model's state of another module": "model_state = {{nn.Identity(): model_state}}",
}
_LARGEST = "key = max(state, key=lambda key: state[key].numel())"
_OF_ONE = 'state = optim_state["state"][{name}]'
_NESTED: Mapping[Kind, tuple[str, ...]] = {
    "state of a parameter missing": ('del optim_state["state"][{name}]',),
    "state of a parameter in part": (_OF_ONE, "del state[{first_or_last}]"),
    "state of more rows": (_OF_ONE, _LARGEST, "state[key] = torch.cat([state[key]] * 2)"),
    "object for a state": (_OF_ONE, _LARGEST, "state[key] = {object}"),
    "no state": ('del optim_state["state"]',),
    "no param_groups": ('del optim_state["param_groups"]',),
    "no groups": ('optim_state["param_groups"] = []',),
    "hyperparameter missing": ('del optim_state["param_groups"][0]["lr"]',),
    "parameter missing in a group": ('optim_state["param_groups"][0]["params"].pop({place})',),
    "parameter too many in a group": ('optim_state["param_groups"][{place}]["params"].append({nobody})',),
    "parameter ids for names": ("optim_state = optimizer.state_dict()",),
}
_WITHOUT = "optim_state = {{key: value for key, value in optim_state.items() if {test}}}"
_FLAT: Mapping[Kind, tuple[str, ...]] = {
    "state of a parameter missing": (_WITHOUT.format(test="not key.startswith({state})"),),
    "no state": (_WITHOUT.format(test='not key.startswith("state.")'),),
    "no param_groups": (_WITHOUT.format(test='key.startswith("state.")'),),
}
_EITHER: Mapping[Kind, tuple[str, ...]] = {
    "list for the optimizer's state": ("optim_state = list(optim_state)",),
    "state of another optimizer": (
        "other = torch.optim.{other}(model.parameters())",
        "optim_state = get_optimizer_state_dict(model, other{options})",
    ),
    "optimizer of another model": ("optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters())",),
}


def spoil_lines(misfit: Misfit, name: str) -> list[str]:
    """The statements that make of ``model_state``, or ``optim_state``, what does not fit; ``name`` is what is wrong.

    Raises :class:`CannotWrite`, with one line, for what has no script yet.
    """
    lines = _lines(misfit)
    if lines is None:
        raise CannotWrite(f"there is no script for {misfit.kind} in a flattened state dict yet")
    _check(misfit)
    side = misfit.side
    has_options = side.full or side.broadcast or misfit.flatten or not side.strict
    words = {
        "name": quoted(name),
        "state": quoted(f"state.{name}."),
        "nobody": quoted(NOBODY),
        "object": str(OBJECT),
        "first_or_last": "list(state)[-1]" if misfit.last else "next(iter(state))",
        "place": "-1" if misfit.last else "0",
        "other": "Adam" if misfit.optimizer is not None and misfit.optimizer.kind == "SGD" else "SGD",
        "options": ", options=options" if has_options else "",
    }
    return [line.format(**words) for line in lines]


def _lines(misfit: Misfit) -> tuple[str, ...] | None:
    kind = misfit.kind
    if kind in _MODEL:
        return (_MODEL[kind],)
    return _EITHER.get(kind) or (_FLAT if misfit.flatten else _NESTED).get(kind)


def _check(misfit: Misfit) -> None:
    parallelism, optimizer = misfit.side.parallelism, misfit.optimizer
    if misfit.kind.endswith(("row", "rows")) and misfit.ranks and (parallelism.data or parallelism.tensor):
        raise CannotWrite("there is no script for shards of another size on some of the ranks yet")
    if misfit.kind == "parameter ids for names" and (parallelism.data or parallelism.tensor):
        raise CannotWrite("there is no script for the numbers of sharded parameters yet")
    if misfit.part == "optim" and optimizer is not None and optimizer.groups != "one":
        raise CannotWrite("there is no script for what does not fit several groups of parameters yet")
    if parallelism.flat and misfit.side.broadcast and (misfit.part == "optim" or misfit.side.calls == "together"):
        raise CannotWrite("there is no script for what FSDP's first version is to broadcast, and does not fit, yet")
