"""What operations on files really failed in a save or a load, by name; see :mod:`strategies.features`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from worlds.file_faults import FILE_CALLS, FileFault, file_errors
from worlds.outcome import Hit
from worlds.scenario import Scenario
from worlds.storages import FILE_SYSTEM

__all__ = ["FILE_FEATURES", "file_features"]

_GROUPS = {"save": "file operation that fails, at save", "load": "file operation that fails, at load"}
_WHERE = "where a file operation fails"
_OF = {
    "data": "of a file with data",
    "metadata": "of the metadata",
    "directory": "of the directory",
    "rest": "of what could not be written",
}


def _kinds(operation: str) -> tuple[str, ...]:
    calls = [call for of, call in FILE_CALLS if of == operation]
    kinds = [f"{call.rpartition('.')[2]} {error}" for call in calls for error in file_errors(call)]
    return tuple(dict.fromkeys(kinds))


FILE_FEATURES: dict[str, tuple[str, ...]] = {
    **{group: _kinds(operation) for operation, group in _GROUPS.items()},
    _WHERE: (
        *_OF.values(),
        "on the coordinator",
        "on another rank",
        "on several ranks",
        "at a later call",
        "in a thread of a writer with several",
        "in async_save",
        "over an earlier checkpoint, with collectives",
        "over an earlier checkpoint, without collectives",
        "over an earlier checkpoint of fsspec",
    ),
}
"""Every feature of them, by group."""


def file_features(
    scenario: Scenario, operation: Literal["save", "load"], hits: Sequence[Hit]
) -> frozenset[tuple[str, str]]:
    """What the operations on files that were reached in a save or a load have, each with its group."""
    struck = [(scenario.file_faults[hit.index], hit.thread) for hit in hits if scenario.file_faults]
    found = {(_GROUPS[operation], f"{fault.call.rpartition('.')[2]} {fault.error}") for fault, _ in struck}
    if len({fault.rank for fault, _ in struck}) > 1:
        found.add((_WHERE, "on several ranks"))
    for fault, thread in struck:
        found.update((_WHERE, name) for name in _where(scenario, fault, thread))
    return frozenset(found)


def _where(scenario: Scenario, fault: FileFault, thread: bool) -> Iterator[str]:
    owner = fault.call.partition(".")[0]
    yield _OF[owner]
    coordinator = scenario.operation(fault.operation).coordinator
    yield "on the coordinator" if fault.rank == coordinator else "on another rank"
    if fault.skip:
        yield "at a later call"
    if scenario.earlier != "nothing":
        how = "with" if scenario.earlier == "coordinated" else "without"
        yield f"over an earlier checkpoint, {how} collectives"
        if scenario.storage != FILE_SYSTEM:
            yield "over an earlier checkpoint of fsspec"
    if fault.operation == "save" and scenario.save.uploads:
        yield "in async_save"
    elif thread and scenario.writer.thread_count > 1:
        yield "in a thread of a writer with several"
