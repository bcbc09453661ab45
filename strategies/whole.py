"""Strategies for whole scenarios: the worlds, the state dict, the options, the schedule and the faults together."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.entries import Entry, Nested, ObjectEntry, TensorEntry
from worlds.faults import Fault
from worlds.fitting import fitted
from worlds.layouts import EnumerableSharding, Layout, Plain
from worlds.operations import Operation, PlannerOptions, WriterOptions
from worlds.planners import planned
from worlds.scenario import Scenario
from worlds.storages import FILE_SYSTEM, find_storage

from ._bounds import check_bounds, planners_for_all, within_storages
from ._reused import sampled_from
from ._spared import SPARED
from ._telling import tell
from .calls import operations, planner_options, schedules, writer_options
from .failures import faults
from .features import features
from .mismatches import colliding_entries, mismatched_entries
from .states import state_dicts

__all__ = ["BY_PATH", "by_the_path", "scenarios"]

_PLACES = ("nothing", "save", "load")
Named = Literal["save", "load", "save by a Path", "load by a Path"]
# Seldom, since a writer that DCP finds by the path has no options, and async_save one stager.
BY_PATH: tuple[tuple[Named, ...], ...] = (
    *[()] * 7,
    ("save",),
    ("load",),
    ("save", "load"),
    ("save by a Path", "load by a Path"),
    ("save", "load", "save by a Path", "load by a Path"),
)
# As many alternatives as fqns() has, so that a module shrinks to a dict.
_ATTRIBUTES = st.sampled_from(string.ascii_lowercase) | st.sampled_from("abc") | st.sampled_from("xyz")
Failing = Literal["nothing", "save", "load", "anything"]


@st.composite
def scenarios(
    draw: DrawFn,
    *,
    failing: Failing = "anything",
    mismatched: bool = False,
    min_world_size: int = 1,
    max_world_size: int = 8,
    min_entries: int = 0,
    max_entries: int = 3,
    core: bool = False,
    deep: bool = False,
    by_path: bool = False,
    spared: bool = False,
    staged: bool = False,
) -> Scenario:
    """Whole scenarios: a save, and a load of what was saved in a world that is often another one.

    ``failing`` says where faults are: nowhere, at the save, at the load, or anywhere, which includes nowhere. With
    ``mismatched``, something is to be loaded that is not in the checkpoint, or is there with another shape, dtype or
    kind. Shrinks towards few ranks, few entries, small shapes, one fault and default options. The layout at load is
    drawn independently of the one at save, since most of what DCP does at load is to bring the two together. With
    ``core``, it is blocking calls with the planners' default options, and flat state dicts of plain tensors, chunk
    shardings and objects: for laws on what happens around a save or load; with ``deep``, most of what is in a
    state dict is containers: for laws on what is made of their paths. With ``by_path``, some calls give no storage, as
    most programs do: DCP then finds it, and ``async_save`` makes and ends a stager, by code that nothing else reaches.
    With ``staged``, each save is an ``async_save``, mostly of objects.
    """
    check_bounds("world_size", min_world_size, max_world_size, at_least=1)
    check_bounds("entries", min_entries, max_entries)
    some = partial(
        operations,
        min_world_size=min_world_size,
        max_world_size=max_world_size,
        scheduled=False,
        core=core,
        staged=staged,
    )
    some_entries = partial(state_dicts, max_entries=max_entries, core=core, deep=deep, of_objects=staged)
    scenario = _drawn(draw, some, some_entries, failing, min_entries, core=core, mismatched=mismatched, spared=spared)
    if by_path:
        scenario = by_the_path(scenario, draw(sampled_from(BY_PATH), label="found by the path"))
    scenario = _on_storage(scenario)
    tell(features(scenario))
    return scenario


def _drawn(
    draw: DrawFn,
    some: Callable[..., SearchStrategy[Operation]],
    some_entries: Callable[..., SearchStrategy[tuple[Entry, ...]]],
    failing: Failing,
    min_entries: int,
    *,
    core: bool,
    mismatched: bool,
    spared: bool,
) -> Scenario:
    """A scenario on the file system.

    First what has always as many draws, last what has few or many: where Hypothesis repeats a part of one example in
    another, what is drawn behind it shifts and falls back to the simplest, which would be the first hook in half of all
    examples.
    """
    save, load = _both(draw, some)
    where = draw(sampled_from(_PLACES), label="failing") if failing == "anything" else failing
    drawn = draw(_faults(where, save, load), label="faults")
    spare = spared and draw(SPARED, label="nothing goes wrong after all")
    failures = () if spare else drawn
    writer = draw(writer_options(), label="writer")
    planner = PlannerOptions() if core else draw(planner_options(), label="planner")
    container = draw(sampled_from(("dict", "dict", "dict", "module")), label="container")
    some_entries = partial(
        some_entries,
        save_world=_group_size(save),
        load_world=_group_size(load),
        min_entries=max(min_entries, int(mismatched and not spare)),
    )
    fitting, entries = _entries(draw, some_entries, container, colliding=not core, mismatched=mismatched)
    entries = _legal(fitting if spare else entries, save, load, failures if container == "dict" else ())
    if not _is_plain_inside(entries):
        planner = replace(planner, flatten_state_dict=True)
    save, load = _scheduled(draw, save, "save"), _scheduled(draw, load, "load")
    return Scenario(entries, save, load, writer, planner, container, failures)  # type: ignore[arg-type]


def _both(draw: DrawFn, some: Callable[..., SearchStrategy[Operation]]) -> tuple[Operation, Operation]:
    """A save and a load, in the same world or in two."""
    save = draw(some(), label="save")
    other = draw(some(load=True), label="load, if in another world")
    same = not draw(sampled_from((False, True, True)), label="another world at load") or not save.coordinated
    return save, _as_load(save) if same else other


def _scheduled(draw: DrawFn, operation: Operation, name: str) -> Operation:
    schedule = draw(schedules(world_size=operation.world_size), label=f"schedule of the {name}")
    return replace(operation, schedule=schedule)


def _entries(
    draw: DrawFn,
    some: Callable[..., SearchStrategy[tuple[Entry, ...]]],
    container: str,
    *,
    colliding: bool,
    mismatched: bool,
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """The entries of a state dict, some names of which may collide; and those of which some do not fit it."""
    is_dict = container == "dict"
    entries = draw(some(names=None if is_dict else _ATTRIBUTES, objects=is_dict), label="entries")
    if not is_dict:
        entries = tuple(map(_of_module, entries))
    if draw(sampled_from((False,) * 15 + (True,)), label="colliding names") and is_dict and colliding:
        entries = colliding_entries(entries)
    if mismatched and is_dict and entries:
        return entries, draw(mismatched_entries(entries), label="mismatched entries")
    return entries, entries


def _of_module(entry: Entry) -> Entry:
    """The tensor, as a module can have it."""
    assert isinstance(entry, TensorEntry)
    return replace(entry, saved=_kept_by_module(entry.saved), loaded=_kept_by_module(entry.loaded))


def _kept_by_module(layout: Layout | None) -> Layout | None:
    """The layout, of a class of tensor that a module gives back in its state dict, and in memory."""
    if layout is not None and layout.memory == "meta":
        layout = replace(layout, memory="contiguous")
    if isinstance(layout, EnumerableSharding) and layout.holder == "CheckpointableTensor":
        return replace(layout, holder="Checkpointable", padded=False)
    return layout


def by_the_path(scenario: Scenario, names: tuple[Named, ...]) -> Scenario:
    """The scenario, of which these operations give no storage, or name it by a ``Path``, where that can be.

    Not where the storage is to fail, or is none that DCP finds by itself.
    """
    failing = {(fault.operation, fault.hook.partition(".")[0]) for fault in scenario.faults}
    save, load, found = scenario.save, scenario.load, find_storage(scenario.storage).found
    if "save" in names and "save" in found and save.api != "legacy" and ("save", "writer") not in failing:
        save = replace(save, named_by="path", stager="default" if save.uploads else "writer")
        scenario = replace(scenario, save=save, writer=WriterOptions(sync_files=scenario.writer.sync_files))
    if "load" in names and "load" in found and load.api != "legacy" and ("load", "reader") not in failing:
        known = scenario.writer if scenario.writer.known_to_torch else replace(scenario.writer, extensions=())
        scenario = replace(scenario, load=replace(load, named_by="path"), writer=known)
    if scenario.storage != FILE_SYSTEM:
        return scenario
    return replace(
        scenario,
        save=replace(scenario.save, pathlike="save by a Path" in names),
        load=replace(scenario.load, pathlike="load by a Path" in names),
    )


def _on_storage(scenario: Scenario) -> Scenario:
    """The scenario on the file system, or on what was chosen for all, and with the planners that were."""
    if (planners := planners_for_all()) != scenario.planners:
        scenario = replace(scenario, planner=planned(scenario.planner, planners), planners=planners)
    storage = within_storages(FILE_SYSTEM)
    return scenario if storage == FILE_SYSTEM else fitted(scenario, storage)


def _as_load(save: Operation) -> Operation:
    """A load in the world of the save, by the API that goes with it."""
    return replace(save, api="legacy" if save.api == "legacy" else "current", stager="writer")


def _group_size(operation: Operation) -> int:
    return operation.world_size if operation.distributed and not operation.no_dist else 0


def _legal(
    entries: tuple[Entry, ...], save: Operation, load: Operation, failures: tuple[Fault, ...]
) -> tuple[Entry, ...]:
    """The entries, with what these operations cannot have in the place of the nearest that they can."""
    if "legacy" in (save.api, load.api):
        entries = tuple(_without_stateful(entry) for entry in entries)
    elif any(fault.hook.startswith("stateful.") for fault in failures) and not _has_stateful(entries):
        taken = {entry.key for entry in entries}
        entries = (*entries, Nested(next(key for key in ("s", "t", "u", "v") if key not in taken), "stateful"))
    if not save.coordinated:
        entries = tuple(map(_loaded_as_saved, entries))
    return entries


def _has_stateful(entries: tuple[Entry, ...]) -> bool:
    return any(isinstance(entry, Nested) and entry.container == "stateful" for entry in entries)


def _without_stateful(entry: Entry) -> Entry:
    """The entry, as a dict where it is a ``Stateful`` object."""
    if isinstance(entry, Nested) and entry.container == "stateful":
        return replace(entry, container="dict")
    return entry


def _loaded_as_saved(entry: Entry) -> Entry:
    """Where ranks do not coordinate, each finds only what it saved itself."""
    if isinstance(entry, Nested):
        return replace(entry, entries=tuple(map(_loaded_as_saved, entry.entries)))
    if isinstance(entry, ObjectEntry):
        return entry if None in (entry.saved, entry.loaded) else replace(entry, loaded=entry.saved)
    saved = entry.saved
    if saved is None:
        return entry
    if isinstance(saved, Plain) and saved.memory == "expanded":
        saved = replace(saved, memory="contiguous")
    return replace(entry, saved=saved, loaded=None if entry.loaded is None else saved)


def _is_plain_inside(entries: tuple[Entry, ...]) -> bool:
    """Whether each container could be one object: with plain tensors in the CPU's memory, on every rank, in it."""
    return all(_is_plain(inner) for entry in entries if isinstance(entry, Nested) for inner in entry.entries)


def _is_plain(entry: Entry) -> bool:
    if isinstance(entry, Nested):
        return all(map(_is_plain, entry.entries))
    sides = (side for side in (entry.saved, entry.loaded) if side is not None)
    return all(side == Plain(memory=side.memory) and side.memory != "meta" for side in sides)


_NO_FAULTS: SearchStrategy[tuple[Fault, ...]] = st.just(())


def _faults(where: str, save: Operation, load: Operation) -> SearchStrategy[tuple[Fault, ...]]:
    if where == "save":
        return faults(operation="save", world_size=save.world_size, coordinator=save.coordinator)
    if where == "load":
        return faults(operation="load", world_size=load.world_size, coordinator=load.coordinator)
    return _NO_FAULTS
