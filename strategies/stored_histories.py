"""Strategies for histories on other storages than the file system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.entries import TensorEntry
from worlds.fitting import fitted_history
from worlds.histories import History, Save, Step
from worlds.storages import FILE_SYSTEM, SAFETENSORS, SHIPPED

from ._bounds import within_storages
from ._reused import reused, sampled_from
from ._telling import tell
from ._weighted import weighted
from .case_features import case_features
from .histories import histories
from .storages import floating_entry

__all__ = ["stored_histories"]

_OTHERS = tuple(name for name in SHIPPED if name != FILE_SYSTEM)
_WEIGHTS = {"fsspec": 3, "safetensors": 4, "consolidated": 3}


@reused
def _storages() -> SearchStrategy[str]:
    """More often those where ranks save together and what is on the disk says more."""
    return weighted(*((_WEIGHTS.get(name, 1), st.just(name)) for name in _OTHERS))


@st.composite
def stored_histories(
    draw: DrawFn, *, names: SearchStrategy[str] | None = None, max_world_size: int = 3, max_steps: int = 6
) -> History:
    """As :func:`strategies.histories`, on a storage of those ``names``; by default any but the file system.

    What that does not support gives way to the nearest that it does. As in :func:`strategies.stored_scenarios`, files
    of safetensors mostly get tensors alone, and where they are made one, floating-point ones, some in each save, and
    often saves without ``checkpoint_id``, or nobody who fails: all else fails in released torch, mostly at the first
    step. Shrinks as :func:`strategies.histories`.
    """
    storage = within_storages(draw(_storages() if names is None else names, label="storage"))
    anything = draw(sampled_from((False,) * 9 + (True,)), label="anything, if safetensors")
    saves = draw(sampled_from(("without id", "without id", "healthy", "any")), label="saves, if consolidated")
    history = draw(histories(max_world_size=max_world_size, max_steps=max_steps), label="history")
    history = fitted_history(history, storage)
    if storage in SAFETENSORS and not anything:
        history = _of_tensors(history)
    if storage in ("consolidated", "whole_consolidated") and not anything:
        entries = tuple(floating_entry(entry) for entry in history.entries if isinstance(entry, TensorEntry))
        steps = tuple(_CHANGES[saves](_with_some(step, len(entries))) for step in history.steps)
        history = replace(history, entries=entries, steps=steps)
    tell(case_features(history))
    return history


def _of_tensors(history: History) -> History:
    entries = tuple(entry for entry in history.entries if isinstance(entry, TensorEntry))
    keys = {entry.key for entry in entries}
    steps = (replace(step, without=tuple(key for key in step.without if key in keys)) for step in history.steps)
    return replace(history, entries=entries, steps=tuple(steps))


def _with_some(step: Step, entries: int) -> Step:
    """The step; if it is of none of the entries, one of all."""
    return replace(step, without=()) if len(step.without) >= entries else step


def _healthy(step: Step) -> Step:
    """The step, in which nobody fails: so that what it leaves there meets the next one."""
    return replace(step, faults=(), file_faults=())


def _without_id(step: Step) -> Step:
    if not isinstance(step, Save) or step.operation.api == "legacy":
        return step
    return replace(step, operation=replace(step.operation, named_by="storage"))


_CHANGES: dict[str, Callable[[Step], Step]] = {"without id": _without_id, "healthy": _healthy, "any": lambda step: step}
