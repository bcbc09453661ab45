"""Strategies for saves that follow each other: the same state, nearly the same, and another, with a failure between."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.entries import TensorEntry
from worlds.layouts import Layout, Plain
from worlds.operations import STAGERS, Stager
from worlds.scenario import Scenario
from worlds.sequences import SaveSequence

from ._bounds import check_bounds
from ._reused import sampled_from
from ._telling import tell
from .case_features import case_features
from .failures import faults
from .layouts import chunk_sharding_specs
from .tensors import dtypes, tensor_shapes
from .whole import by_the_path, scenarios

__all__ = ["async_save_sequences", "save_sequences"]

_CHANGES = ("nothing", "dtype", "shape", "sharding", "fewer", "more", "order", "failure")


@st.composite
def save_sequences(draw: DrawFn, *, max_world_size: int = 3, min_steps: int = 2, max_steps: int = 4) -> SaveSequence:
    """Sequences of ``min_steps`` to ``max_steps`` saves by the same ranks, each a small change of one before it.

    The dtype, shape or sharding of one tensor changes, an entry comes or goes, their order is another, or ranks fail.
    Shrinks towards two saves of the same. What a process remembers of a save shows where the next one differs in what
    it does not look at.
    """
    check_bounds("world_size", 1, max_world_size, at_least=1)
    check_bounds("steps", min_steps, max_steps, at_least=1)
    steps = [draw(scenarios(failing="nothing", max_world_size=max_world_size, min_entries=1, core=True), label="first")]
    changes = st.lists(st.sampled_from(_CHANGES), min_size=min_steps - 1, max_size=max_steps - 1)
    for change in draw(changes, label="changes"):
        before = draw(st.sampled_from(steps), label="of")
        steps.append(draw(_changed(replace(before, faults=()), change), label=change))
    sequence = SaveSequence(tuple(steps))
    tell(case_features(sequence))
    return sequence


@st.composite
def async_save_sequences(draw: DrawFn, *, max_world_size: int = 2, max_steps: int = 4) -> SaveSequence:
    """As :func:`save_sequences`, by ``async_save``, each with any stager; nobody fails, and there is always a group.

    Some name the checkpoint by its storage alone, or by its path, where DCP makes the stager, a ``"default"`` one. Some
    go to one path, where a writer that is not to overwrite is refused by its daemon. Shrinks towards two saves of the
    same, with the storage writer as the stager. For the process executor, to whose daemons a writer or a planner that
    fails could not be sent; what a planner remembers is there, so that it remembers in new ones alone.
    """
    sequence = draw(save_sequences(max_world_size=max_world_size, max_steps=max_steps), label="sequence")
    # In turn, since a run has few such sequences: so each has several stagers, or one alone.
    first = draw(sampled_from(range(len(STAGERS))), label="first stager")
    next_one = draw(sampled_from((0, 1, 1)), label="whether the next step has the next stager")
    numbers = (first + next_one * number for number in range(len(sequence.steps)))
    by_path = draw(sampled_from((False, True)), label="by the path alone, where it can be")
    pairs = zip(sequence.steps, numbers, strict=True)
    steps = [_asynchronous(step, STAGERS[number % len(STAGERS)]) for step, number in pairs]
    named = (_by_path(step, first=not number) if by_path else step for number, step in enumerate(steps))
    # Seldom, since a daemon takes as long to begin as all else.
    anew = draw(sampled_from(("kept",) * 4 + ("anew", "caching")), label="daemons")
    where = draw(sampled_from(("apart", "apart", "in place", "refused in place")), label="where")
    planned = (_caching(step) if anew == "caching" else step for step in named)
    placed = (_not_over(step) if where == "refused in place" else step for step in planned)
    return SaveSequence(tuple(placed), in_place=where != "apart", anew=anew != "kept")


def _not_over(step: Scenario) -> Scenario:
    """The step, not over what is there, where its writer can be told so."""
    return step if step.save.by_path else replace(step, writer=replace(step.writer, overwrite=False))


def _caching(step: Scenario) -> Scenario:
    return replace(step, planner=replace(step.planner, enable_plan_caching=True))


def _by_path(step: Scenario, *, first: bool) -> Scenario:
    """The first step, for which a daemon begins, in any case; another one where its stager is DCP's own."""
    return by_the_path(step, ("save",)) if first or step.save.stager == "default" else step


def _asynchronous(step: Scenario, stager: Stager) -> Scenario:
    save = replace(step.save, api="async", coordinator=0, distributed=True, stager=stager)
    return replace(step, faults=(), save=save)


def _changed(step: Scenario, change: str) -> SearchStrategy[Scenario]:
    if change == "failure":
        failures = faults(operation="save", world_size=step.save.world_size, coordinator=step.save.coordinator)
        return failures.map(lambda failing: replace(step, faults=failing))
    if change == "fewer":
        return st.sampled_from(range(len(step.entries) or 1)).map(lambda index: _without(step, index))
    if change == "more":
        return st.just(_with_another(step))
    if change == "order":
        return st.permutations(step.entries).map(lambda entries: replace(step, entries=tuple(entries)))
    tensors = [entry for entry in step.entries if isinstance(entry, TensorEntry)]
    if not tensors or change == "nothing":
        return st.just(step)
    return st.sampled_from(tensors).flatmap(lambda entry: _with_other_tensor(step, entry, change))


def _without(step: Scenario, index: int) -> Scenario:
    return replace(step, entries=step.entries[:index] + step.entries[index + 1 :])


def _with_another(step: Scenario) -> Scenario:
    taken = {entry.key for entry in step.entries}
    name = next(name for name in ("new", "newer", "newest", "latest") if name not in taken)
    return replace(step, entries=(*step.entries, TensorEntry(name, (2,))))


def _with_other_tensor(step: Scenario, entry: TensorEntry, change: str) -> SearchStrategy[Scenario]:
    def put(other: TensorEntry) -> Scenario:
        return replace(step, entries=tuple(other if one is entry else one for one in step.entries))

    if change == "dtype":
        return dtypes().map(lambda dtype: put(replace(entry, dtype=dtype)))
    if change == "shape":
        dims = len(entry.shape)
        return tensor_shapes(min_dims=dims, max_dims=dims).map(lambda shape: put(replace(entry, shape=shape)))
    if not entry.shape or not step.save.distributed:
        return st.just(step)
    specs = chunk_sharding_specs(dims=len(entry.shape), world_size=step.save.world_size)
    layouts: SearchStrategy[Layout] = st.just(Plain()) | specs
    return layouts.map(lambda layout: put(replace(entry, saved=layout)))
