"""The hyperparameters of an optimizer: other ones at load than at save, since those are what a load has to restore."""

from __future__ import annotations

from typing import Any

from .optimizer import Kind, Optimizer

__all__ = ["learning_rate", "own_options", "variant_options", "weight_decay"]

_Options = dict[str, Any]

# Sums of halves, so that text shows them exactly.
_OWN: dict[Kind, tuple[_Options, _Options]] = {
    "SGD": ({}, {"dampening": 0.25}),
    "Adam": ({"betas": (0.5, 0.75)}, {"betas": (0.25, 0.5)}),
    "AdamW": ({"betas": (0.5, 0.75)}, {"betas": (0.25, 0.5)}),
    "Adagrad": ({"lr_decay": 0.5}, {"lr_decay": 0.25}),
    "NAdam": ({"betas": (0.5, 0.75)}, {"betas": (0.25, 0.5)}),
    "RMSprop": ({"alpha": 0.5}, {"alpha": 0.25}),
    "Adadelta": ({"rho": 0.5}, {"rho": 0.25}),
    "Adamax": ({"betas": (0.5, 0.75)}, {"betas": (0.25, 0.5)}),
    "ASGD": ({"lambd": 0.5}, {"lambd": 0.25}),
    "RAdam": ({"betas": (0.5, 0.75)}, {"betas": (0.25, 0.5)}),
    "Rprop": ({"etas": (0.5, 1.5)}, {"etas": (0.25, 1.25)}),
    "Adafactor": ({"beta2_decay": -0.5}, {"beta2_decay": -0.25}),
    # Two iterations with three evaluations, which is how many there may be: then there is something in its lists.
    "LBFGS": ({"max_iter": 3, "history_size": 3}, {"max_iter": 3, "history_size": 2}),
    "Muon": ({"momentum": 0.5}, {"momentum": 0.25}),
}
_VARIANTS: dict[Kind, tuple[_Options, _Options]] = {
    "SGD": ({"momentum": 0.5}, {"momentum": 0.25}),
    "Adam": ({"amsgrad": True}, {"amsgrad": True}),
    "AdamW": ({"amsgrad": True}, {"amsgrad": True}),
    "NAdam": ({"decoupled_weight_decay": True}, {"decoupled_weight_decay": True}),
    "RAdam": ({"decoupled_weight_decay": True}, {"decoupled_weight_decay": True}),
    "RMSprop": ({"momentum": 0.5}, {"momentum": 0.25}),
}


def own_options(optimizer: Optimizer, *, loads: bool) -> _Options:
    """What its kind takes in any case, at save or at load; it decides no more than values."""
    return dict(_OWN[optimizer.kind][loads])


def variant_options(optimizer: Optimizer, *, loads: bool) -> _Options:
    """What the variant adds, if it is one: options that may decide what state there is."""
    return dict(_VARIANTS.get(optimizer.kind, ({}, {}))[loads]) if optimizer.variant else {}


def weight_decay(optimizer: Optimizer, *, loads: bool) -> _Options:
    """The weight decay, if there is one."""
    rate = 0.25 if loads else 0.5
    return {"weight_decay": rate} if optimizer.decay else {}


def learning_rate(group: int, *, loads: bool) -> float:
    """That of the parameter group of the number; a scheduler's first one is twice that."""
    return (0.125 if loads else 0.25) / (1 + group)
