"""A scenario on a storage that does not support all of it: the nearest one that it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Literal

from .entries import Entry, Nested, ObjectEntry, TensorEntry
from .file_faults import FileFault
from .histories import History, Save, Step
from .layouts import Layout, Plain
from .operations import Operation, WriterOptions
from .scenario import Scenario
from .storages import FILE_SYSTEM, SHIPPED, Limits, Storage, find_storage

__all__ = ["fitted", "fitted_history", "of_dtype", "tensors_alone"]

_ANY_DTYPE = "uint8"


def fitted(scenario: Scenario, storage: str) -> Scenario:
    """The scenario on that storage: with entries that it can hold, and calls and options that it takes.

    Damage is for what comes with this project and has files that lie open, operations on files that fail for what asks
    for its files as DCP or fsspec does, and requests for a storage on a server. What the storage supports is left as it
    is; raises :class:`worlds.InvalidScenario` where there is no such storage.
    """
    found = find_storage(storage)
    limits = found.limits
    if storage not in SHIPPED or found.suffix is None:
        scenario = replace(scenario, damages=())
    elif not limits.metadata:
        scenario = replace(scenario, damages=tuple(replace(damage, metadata=False) for damage in scenario.damages))
    scenario = replace(scenario, file_faults=_file_faults(scenario.file_faults, found))
    if found.endpoint is None:
        scenario = replace(scenario, request_faults=())
    if not limits.objects:
        options = replace(scenario.planner, flatten_state_dict=True)  # without it, a dict is an object
        scenario = replace(scenario, entries=tensors_alone(scenario.entries), planner=options)
    if not limits.by_many:
        scenario = _saved_by_one(scenario)
    return replace(
        scenario,
        entries=tuple(_of_dtypes(entry, limits) for entry in scenario.entries),
        save=_save(_with_storage(scenario.save, "save", storage), limits),
        load=_with_storage(scenario.load, "load", storage),
        writer=_writer(scenario.writer, limits),
        storage=storage,
    )


def fitted_history(history: History, storage: str) -> History:
    """The history on that storage, as above: its entries, options, calls and faults are what the storage takes.

    Of a storage of the user's own it is not known what it asks of its files where something is already: there none
    fails at a save.
    """
    limits = find_storage(storage).limits
    entries = history.entries if limits.objects else tensors_alone(history.entries)
    fitting = (_of_dtypes(entry, limits) for entry in entries)
    kept = tuple(entry for entry in fitting if isinstance(entry, TensorEntry | ObjectEntry))  # in a history, all are
    keys = {entry.key for entry in kept}
    steps: Iterable[Step] = (
        replace(step, without=tuple(key for key in step.without if key in keys)) for step in history.steps
    )
    if not limits.overwrites:
        steps = _apart(steps)
    return replace(
        history,
        entries=kept,
        steps=tuple(_fitted_step(step, storage) for step in steps),
        writer=_writer(history.writer, limits),
        storage=storage,
    )


def _apart(steps: Iterable[Step]) -> Iterator[Step]:
    """The steps, with each save at a checkpoint of its own, and each load of the last that was to be there."""
    counts: Counter[str] = Counter()
    for step in steps:
        counts[step.at] += isinstance(step, Save)
        number = counts[step.at]
        yield replace(step, at=f"{step.at}_{number}") if number > 1 else step


def _fitted_step(step: Step, storage: str) -> Step:
    found = find_storage(storage)
    faults = _file_faults(step.file_faults, found)
    if isinstance(step, Save) and storage not in SHIPPED:
        faults = ()
    step = replace(step, file_faults=faults)
    if not isinstance(step, Save):
        return replace(step, operation=_with_storage(step.operation, "load", storage))
    overwrite = step.overwrite or not found.limits.takes("overwrite")
    if not found.limits.by_many and step.operation.world_size > 1:
        step = _step_of_one(step)
    operation = _save(_with_storage(step.operation, "save", storage), found.limits)
    return replace(step, operation=operation, overwrite=overwrite)


def _step_of_one(step: Save) -> Save:
    """The save by its first rank alone; what overtook that of several is then of another job."""
    return replace(
        step,
        overtaken=False,
        operation=_of_one(step.operation),
        faults=tuple(fault for fault in step.faults if fault.rank == 0),
        file_faults=tuple(fault for fault in step.file_faults if fault.rank == 0),
    )


def _file_faults(faults: tuple[FileFault, ...], storage: Storage) -> tuple[FileFault, ...]:
    if storage.files == "fsspec":
        return tuple(fault for fault in faults if fault.is_of_fsspec)
    return tuple(fault for fault in faults if fault.is_of_system and storage.files == "system")


def _saved_by_one(scenario: Scenario) -> Scenario:
    """The scenario with a save by its first rank alone, of all that any rank has."""
    if scenario.save.world_size == 1:
        return scenario
    faults = tuple(fault for fault in scenario.faults if fault.operation == "load" or fault.rank == 0)
    entries = tuple(map(_held_by_one, scenario.entries))
    save = _of_one(scenario.save)
    if not save.coordinated:
        save = save.with_collectives  # or each rank would load what it has saved itself
    return replace(scenario, entries=entries, save=save, faults=faults)


def _of_one(save: Operation) -> Operation:
    return replace(save, world_size=1, coordinator=0, members=(), schedule=replace(save.schedule, order=()))


def _held_by_one(entry: Entry) -> Entry:
    if isinstance(entry, Nested):
        return replace(entry, entries=tuple(map(_held_by_one, entry.entries)))
    layout = entry.saved
    if layout is None:
        return entry
    return replace(entry, saved=replace(layout, ranks=()) if isinstance(layout, Plain) else Plain())


def _with_storage(operation: Operation, name: Literal["save", "load"], storage: str) -> Operation:
    """The call, which names the storage where DCP does not find it."""
    if operation.by_path and name not in find_storage(storage).found:
        operation = replace(operation, named_by="both")
    return operation if storage == FILE_SYSTEM else replace(operation, pathlike=False)


def _save(save: Operation, limits: Limits) -> Operation:
    if not (limits.uncoordinated or save.coordinated):
        save = save.with_collectives
    is_stager = save.uploads and save.stager == "writer"
    return replace(save, stager="default") if is_stager and not limits.stages else save


def _writer(options: WriterOptions, limits: Limits) -> WriterOptions:
    taken = {field.name: getattr(options, field.name) for field in fields(options) if limits.takes(field.name)}
    return WriterOptions(**taken)


def _of_dtypes(entry: Entry, limits: Limits) -> Entry:
    if isinstance(entry, Nested):
        return replace(entry, entries=tuple(_of_dtypes(inner, limits) for inner in entry.entries))
    if limits.dtypes is None or not isinstance(entry, TensorEntry) or entry.dtype in limits.dtypes:
        return entry
    return of_dtype(entry, _ANY_DTYPE)


def tensors_alone(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The entries, without objects and what DCP saves as one."""
    return tuple(kept for entry in entries for kept in _only_tensors(entry))


def _only_tensors(entry: Entry) -> list[Entry]:
    if isinstance(entry, TensorEntry):
        return [entry]
    if not isinstance(entry, Nested) or entry.container == "tuple":
        return []
    inside = tuple(kept for inner in entry.entries for kept in _only_tensors(inner))
    return [replace(entry, entries=inside)] if inside else []


def of_dtype(entry: TensorEntry, dtype: str) -> TensorEntry:
    """The tensor with another dtype, in memory that a tensor of any dtype can have."""
    return replace(entry, dtype=dtype, saved=_for_any_dtype(entry.saved), loaded=_for_any_dtype(entry.loaded))


def _for_any_dtype(layout: Layout | None) -> Layout | None:
    if layout is None or layout.memory not in ("conjugated", "negated", "gradient"):
        return layout
    return replace(layout, memory="contiguous")
