"""Planners under test: the default ones, or those of an object of another package, found by ``module:name``.

A scenario names its planners. Nothing of another package is imported before that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from .foreign_object import import_object, probed
from .hooks import HOOKS
from .invalid import require
from .operations import PlannerOptions

if TYPE_CHECKING:
    from torch.distributed.checkpoint import LoadPlanner, SavePlanner

__all__ = ["DEFAULT", "Planners", "find_planners", "planned"]

DEFAULT = "default"
"""The planners of a scenario that names none."""

_METHODS = {"save": "make_save_planner", "load": "make_load_planner"}


class Planners(Protocol):
    """Planners under test: one small object, of which each rank asks for a planner of its own."""

    options: tuple[str, ...]
    """The fields of :class:`worlds.operations.PlannerOptions` that they take."""

    def make_save_planner(self, options: PlannerOptions) -> SavePlanner:
        """A new planner of a save, with those of the ``options`` that it takes."""

    def make_load_planner(self, options: PlannerOptions) -> LoadPlanner:
        """A new planner of a load."""


class _Default(Planners):
    """``DefaultSavePlanner`` and ``DefaultLoadPlanner``."""

    options = tuple(field.name for field in fields(PlannerOptions))

    def make_save_planner(self, options: PlannerOptions) -> SavePlanner:
        import torch.distributed.checkpoint as dcp

        return dcp.DefaultSavePlanner(
            flatten_state_dict=options.flatten_state_dict,
            flatten_sharded_tensors=options.flatten_sharded_tensors,
            dedup_save_to_lowest_rank=options.dedup_save_to_lowest_rank,
            enable_plan_caching=options.enable_plan_caching,
        )

    def make_load_planner(self, options: PlannerOptions) -> LoadPlanner:
        import torch.distributed.checkpoint as dcp

        return dcp.DefaultLoadPlanner(
            flatten_state_dict=options.flatten_state_dict,
            flatten_sharded_tensors=options.flatten_sharded_tensors,
            allow_partial_load=options.allow_partial_load,
        )


class _Foreign(Planners):
    """``made``, which may leave out to make one of the two, and gets no options where it takes none."""

    def __init__(self, name: str, made: Any) -> None:
        there = [method for method in _METHODS.values() if callable(getattr(made, method, None))]
        require(bool(there), f"the planners {name} lack {' and '.join(_METHODS.values())}: one of them is needed")
        self._made = made
        self._takes = {method: bool(inspect.signature(getattr(made, method)).parameters) for method in there}
        for operation, method in _METHODS.items():
            if method in there:
                _hold(name, operation, method, lambda method=method: self._make(method, PlannerOptions()))  # type: ignore[misc]
        default = _Default.options if all(self._takes.get(method, True) for method in there) else ()
        self.options = tuple(getattr(made, "options", default))
        unknown = [option for option in self.options if option not in _Default.options]
        known = ", ".join(_Default.options)
        require(not unknown, f"the planners {name} have options that are none: {', '.join(unknown)}; {known} are")

    def make_save_planner(self, options: PlannerOptions) -> SavePlanner:
        made: SavePlanner = self._make("make_save_planner", options)
        return made

    def make_load_planner(self, options: PlannerOptions) -> LoadPlanner:
        made: LoadPlanner = self._make("make_load_planner", options)
        return made

    def _make(self, method: str, options: PlannerOptions) -> Any:
        if method not in self._takes:
            return getattr(_Default(), method)(options)
        return getattr(self._made, method)(*((options,) if self._takes[method] else ()))


def _hold(name: str, operation: str, method: str, make: Callable[[], Any]) -> None:
    """Look at one, whether it has what DCP calls."""
    hooks = [hook.removeprefix("planner.") for of, hook in HOOKS if of == operation and hook.startswith("planner.")]
    probed(f"{method} of the planners {name}", make, hooks)


@lru_cache(maxsize=64)
def find_planners(name: str) -> Planners:
    """Those of that name; raises :class:`worlds.InvalidScenario` with one line if there are none."""
    if name == DEFAULT:
        return _Default()
    require(":" in name, f"there are no planners {name!r}, only {DEFAULT}, and module:name of your own")
    return _Foreign(name, import_object(name, "planners"))


def planned(options: PlannerOptions, name: str) -> PlannerOptions:
    """The options, with the default of each that those planners do not take."""
    default, taken = PlannerOptions(), find_planners(name).options
    left_out = (field.name for field in fields(options) if field.name not in taken)
    return replace(options, **{option: getattr(default, option) for option in left_out})
