"""A case by a rank fewer, in all of its worlds at once, and one with a number less wherever it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from worlds import ChunkSharding, Fault, FileFault, MeshSharding, Operation, Plain
from worlds.killed import Kill
from worlds.request_faults import RequestFault

from .smaller import ILLEGAL, chosen

__all__ = ["by_fewer_ranks", "renumbered"]

_FAULTS = (Fault, FileFault, RequestFault, Kill)
"""What two ranks that have become one have once."""


def by_fewer_ranks(case: Any) -> Iterator[Any]:
    """By one rank, by two, and so on up to one fewer: what was on a rank that is not there is on the last."""
    largest = max((operation.world_size for operation in _operations(case)), default=1)
    for size in range(1, largest):
        with suppress(*ILLEGAL):
            yield _within(case, size)


def renumbered(case: Any) -> Iterator[Any]:
    """One number less wherever it stands: a rank that fails and is the coordinator is the same rank."""
    for number in sorted(set(_numbers(case)), reverse=True):
        for less in {0, number - 1}:
            with suppress(*ILLEGAL):
                yield _with(case, number, less)


def _operations(value: Any) -> Iterator[Operation]:
    if isinstance(value, Operation):
        yield value
    for part in _parts(value):
        yield from _operations(part)


def _numbers(value: Any) -> Iterator[int]:
    if type(value) is int and value > 0:
        yield value
    for part in _parts(value):
        yield from _numbers(part)


def _parts(value: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(value):
        yield from (getattr(value, name) for name in chosen(value))
    elif isinstance(value, tuple):
        yield from value


def _with(value: Any, number: int, less: int) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {name: _with(getattr(value, name), number, less) for name in chosen(value)}
        return dataclasses.replace(value, **parts)
    if isinstance(value, tuple):
        return tuple(_with(item, number, less) for item in value)
    return less if type(value) is int and value == number else value


def _within(value: Any, size: int) -> Any:
    """The same in worlds of that many ranks at most."""
    last = size - 1
    if isinstance(value, Operation):
        return _operation_within(value, size)
    if isinstance(value, ChunkSharding):
        return dataclasses.replace(value, ranks=tuple(min(rank, last) for rank in value.ranks))
    if isinstance(value, Plain):
        return dataclasses.replace(value, ranks=tuple(dict.fromkeys(min(rank, last) for rank in value.ranks)))
    if isinstance(value, MeshSharding):
        mesh = tuple(min(extent, size) for extent in value.mesh)
        return dataclasses.replace(value, mesh=mesh, ranks=())
    if isinstance(value, tuple):
        items = tuple(_within(item, size) for item in value)
        return tuple(dict.fromkeys(items)) if all(isinstance(item, _FAULTS) for item in items) else items
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    parts = {name: _within(getattr(value, name), size) for name in chosen(value)}
    if isinstance(parts.get("rank"), int):  # of a tile, a fault, a death
        parts["rank"] = min(parts["rank"], last)
    return dataclasses.replace(value, **parts)


def _operation_within(operation: Operation, size: int) -> Operation:
    size = min(size, operation.world_size)
    schedule = operation.schedule
    order = tuple(rank for rank in schedule.order if rank < size)
    return dataclasses.replace(
        operation,
        world_size=size,
        coordinator=min(operation.coordinator, size - 1),
        schedule=dataclasses.replace(schedule, order=order),
        members=operation.members[:size],
    )
