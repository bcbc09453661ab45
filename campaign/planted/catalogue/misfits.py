"""Bugs in how what does not fit a training is refused."""

from __future__ import annotations

from worlds.training import Optimizer, Parallelism, Side
from worlds.training.misfit import Misfit

from ..bug import Bug, Change, Witness

__all__ = ["MISFITS"]

_MODEL = "state_dict:_load_model_state_dict"
_MISSING = 'raise RuntimeError(f"Missing key: {fqn}.")'
_STATE = "state_dict:_split_optim_state_dict"
_ALONE = Side(calls="model first")
_WRAPPED = Misfit(side=Side(parallelism=Parallelism(2), whole="DDP"))
_WITHOUT_STATE = Misfit("state of a parameter missing", optimizer=Optimizer(variant=True), side=_ALONE)

MISFITS = (
    Bug(
        "strict-not-passed-on",
        "the model's state dict is loaded as with strict=False, whatever is asked for",
        (Change(_MODEL, "strict=info.strict, assign=assign", "strict=False, assign=assign"),),
        Witness("training_refusal", Misfit(side=_ALONE)),
    ),
    Bug(
        "missing-key-without-its-name",
        "a key that is missing in what is wrapped is refused without its name",
        (Change(_MODEL, "Missing key: {fqn}.", "Missing key."),),
        Witness("training_refusal", _WRAPPED),
    ),
    Bug(
        "refused-load-leaves-parameters-frozen",
        "a load that is refused for a key that is missing leaves the parameters frozen",
        (Change(_MODEL, _MISSING, f"model.requires_grad_(False)\n                        {_MISSING}"),),
        Witness("training_refusal", _WRAPPED),
    ),
    Bug(
        "missing-state-taken",
        "an optimizer's state dict without the state of a parameter is taken by a strict load",
        (Change(_STATE, "elif info.strict:", "elif False:"),),
        Witness("training_refusal", _WITHOUT_STATE),
    ),
    Bug(
        "missing-state-told-to-rank-0",
        "rank 0 alone is told that the state of a parameter is missing",
        (Change(_STATE, "elif info.strict:", "elif info.strict and dist.get_rank() == 0:"),),
        Witness(
            "training_refusal",
            Misfit(
                "state of a parameter missing",
                optimizer=Optimizer(variant=True),
                side=Side(parallelism=Parallelism(2), calls="model first"),
            ),
        ),
    ),
)
