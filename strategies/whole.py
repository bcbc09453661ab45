"""Strategies for whole scenarios: the worlds, the state dict, the options, the schedule and the faults together."""

from __future__ import annotations

import math
import string
from dataclasses import replace
from typing import Literal

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.scenario import Fault, Operation, Scenario, Schedule, TensorEntry, WriterOptions

from ._bounds import check_bounds
from .failures import faults
from .states import state_dicts
from .tensors import ranks, world_sizes

__all__ = ["operations", "scenarios", "schedules", "writer_options"]

_PLACES = ("nothing", "save", "load")
Failing = Literal["nothing", "save", "load", "anything"]


def schedules(*, world_size: int) -> SearchStrategy[Schedule]:
    """Orders in which the ranks of a world run; shrinks towards the natural one."""
    orders = st.permutations(range(world_size)).map(lambda order: () if order == sorted(order) else tuple(order))
    return st.builds(Schedule, st.just(()) | orders, st.booleans())


@st.composite
def operations(draw: DrawFn, *, min_world_size: int = 1, max_world_size: int = 8, scheduled: bool = True) -> Operation:
    """Saves and loads: the world, the API, the coordinator where the API lets it be chosen, the schedule.

    Shrinks towards one rank that calls the current API. One rank also runs without ``torch.distributed`` initialised.
    Without ``scheduled``, the ranks run in their natural order.
    """
    size = draw(world_sizes(min_size=min_world_size, max_size=max_world_size), label="world size")
    api = draw(st.sampled_from(("current", "legacy")), label="api")
    # These two are drawn for every size and API, so that nothing more has to be drawn, and what follows does not shift,
    # when one of those changes: in shrinking, and where Hypothesis makes one example of parts of another.
    coordinator = draw(ranks(world_size=size), label="coordinator, if legacy")
    alone = draw(st.booleans(), label="without torch.distributed, if alone")
    schedule = draw(schedules(world_size=size), label="schedule") if scheduled else Schedule()
    return Operation(size, coordinator if api == "legacy" else 0, api, not (alone and size == 1), schedule)  # type: ignore[arg-type]


def writer_options() -> SearchStrategy[WriterOptions]:
    """Options of the file system writer; shrinks towards its defaults, but for the fsync that no world needs."""
    threads = st.just(1) | st.integers(2, 4)
    return st.just(WriterOptions()) | st.builds(WriterOptions, st.booleans(), st.booleans(), threads)


@st.composite
def scenarios(
    draw: DrawFn,
    *,
    failing: Failing = "anything",
    min_world_size: int = 1,
    max_world_size: int = 8,
    min_entries: int = 0,
    max_entries: int = 3,
) -> Scenario:
    """Whole scenarios: a save, and a load of what was saved in a world that is often another one.

    ``failing`` says where faults are: nowhere, at the save, at the load, or anywhere, which includes nowhere. Shrinks
    towards few ranks, few entries, small shapes, one fault and default options. The sharding at load is drawn
    independently of the one at save, since most of what DCP does at load is to bring the two together.
    """
    check_bounds("world_size", min_world_size, max_world_size, at_least=1)
    check_bounds("entries", min_entries, max_entries)
    # First what has always as many draws, last what has few or many: where Hypothesis repeats a part of one example in
    # another, what is drawn behind it shifts and falls back to the simplest, which would be the first hook in half of
    # all examples.
    worlds = operations(min_world_size=min_world_size, max_world_size=max_world_size, scheduled=False)
    save, other = draw(worlds, label="save"), draw(worlds, label="load, if in another world")
    load = other if draw(st.sampled_from((False, True, True)), label="another world at load") else save
    where = draw(st.sampled_from(_PLACES), label="failing") if failing == "anything" else failing
    failures = draw(_faults(where, save, load), label="faults")
    writer = draw(writer_options(), label="writer")
    container = draw(st.sampled_from(("dict", "dict", "dict", "module")), label="container")
    entries = draw(
        state_dicts(
            save_world=save.world_size if save.distributed else 0,
            load_world=load.world_size if load.distributed else 0,
            min_entries=min_entries,
            max_entries=max_entries,
            names=st.sampled_from(string.ascii_lowercase) if container == "module" else None,
            objects=container == "dict",
        ),
        label="entries",
    )
    save = replace(save, schedule=draw(schedules(world_size=save.world_size), label="schedule of the save"))
    load = replace(load, schedule=draw(schedules(world_size=load.world_size), label="schedule of the load"))
    scenario = Scenario(entries, save, load, writer, container, failures)  # type: ignore[arg-type]
    _tell(scenario)
    return scenario


def _faults(where: str, save: Operation, load: Operation) -> SearchStrategy[tuple[Fault, ...]]:
    if where == "save":
        return faults(operation="save", world_size=save.world_size, coordinator=save.coordinator)
    if where == "load":
        return faults(operation="load", world_size=load.world_size, coordinator=load.coordinator)
    return st.just(())


def _tell(scenario: Scenario) -> None:
    """What this scenario has that matters, for Hypothesis's statistics."""
    if scenario.save.world_size != scenario.load.world_size:
        event("another world size at load")
    for operation in (scenario.save, scenario.load):
        if operation.coordinator:
            event("coordinator is not rank 0")
    for entry in scenario.entries:
        if isinstance(entry, TensorEntry):
            _tell_of_tensor(entry)
    _tell_of_faults(scenario)


def _tell_of_tensor(entry: TensorEntry) -> None:
    if entry.shape == ():
        event("0-d tensor")
    elif not math.prod(entry.shape):
        event("empty tensor")
    if entry.saved != entry.loaded:
        event("resharded tensor")
    for sharding in (entry.saved, entry.loaded):
        if sharding is not None:
            if sharding.dim < 0:
                event("negative dim")
            if len(set(sharding.ranks)) < len(sharding.ranks):
                event("several chunks on a rank")
            if not all(math.prod(sizes) for _, _, sizes in sharding.chunks(entry.shape)):
                event("empty chunk")


def _tell_of_faults(scenario: Scenario) -> None:
    for name in ("save", "load"):
        operation = scenario.operation(name)
        failing = {fault.rank for fault in scenario.faults if fault.operation == name}
        if failing:
            event(f"a fault at {name}")
            if operation.coordinator in failing:
                event("the coordinator fails")
            if len(failing) == operation.world_size:
                event("every rank fails")
