"""Strategies for operations on files that fail, below the storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.errors import FILE_ERRORS
from worlds.file_faults import FILE_CALLS, UNWRITTEN, FileFault, file_errors
from worlds.fitting import fitted
from worlds.scenario import Scenario
from worlds.storages import FILE_SYSTEM, SHIPPED, find_storage

from ._bounds import MOST_RANKS, check_bounds, check_rank, within_storages
from ._reused import sampled_from
from ._spared import SPARED
from ._telling import tell
from .features import features
from .whole import scenarios

__all__ = ["failing_file_scenarios", "file_faults"]

Name = Literal["save", "load"]
Earlier = Literal["nothing", "coordinated", "uncoordinated"]
_EARLIER: tuple[Earlier, ...] = ("nothing", "nothing", "coordinated", "uncoordinated")

# Which call, and with which error on the first rank that fails, the simplest first: one that every rank comes to. What
# is done to files with data is there more often, since most of what a checkpoint takes is that; and so is what the
# coordinator alone does, once, and to no other file.
_OFTEN = {"metadata.remove": 3, "metadata.rename": 3}
_KINDS: dict[Name, list[tuple[str, str]]] = {
    name: sorted(
        (
            (call, error)
            for of, call in FILE_CALLS
            if of == name
            for error in file_errors(call) * _OFTEN.get(call, 1 + call.startswith("data."))
        ),
        key=lambda kind: kind[0] not in ("data.write", "data.read"),
    )
    for name in get_args(Name)
}
_MOST_SETS = 2 * MOST_RANKS + 1  # as many as the largest world has, and more than smaller ones have, which count round
# Fsspec's less often, since it has fewer kinds of failures.
_STORAGES = (FILE_SYSTEM, FILE_SYSTEM, FILE_SYSTEM, "fsspec", "memory")
# What is done to the file of a rank that has nothing to save.
_WITHOUT_ENTRIES: dict[Name, tuple[str, ...]] = {"save": ("data.open", "data.close", "data.fsync"), "load": ()}
_UNREMOVED = st.sampled_from((None, None, None, *(error for error in FILE_ERRORS if error.isupper())))
_SKIPPED = (0, 0, 0, 0, 1, 1, 2, 3, 5, 8)


@dataclass(frozen=True)
class _AtOneCall:
    """An operation that fails on a set of ranks, whatever ranks there are."""

    call: str
    error: str
    ranks: int
    skip: int

    def faults(self, operation: Name, world_size: int, coordinator: int) -> tuple[FileFault, ...]:
        """It in that world: on each rank with another error. What the coordinator alone calls fails there alone."""
        sets = _sets_of_ranks(world_size)
        errors = file_errors(self.call)
        first = errors.index(self.error)
        faults = [
            FileFault(operation, rank, self.call, errors[(first + place) % len(errors)], self.skip)
            for place, rank in enumerate(sets[self.ranks % len(sets)])
        ]
        if faults[0].place.role == "coordinator":
            return (replace(faults[0], rank=coordinator),)
        return tuple(faults)


def _sets_of_ranks(world_size: int) -> list[tuple[int, ...]]:
    """One rank, all of them, and all but one, the simplest first."""
    everyone = tuple(range(world_size))
    without = [tuple(other for other in everyone if other != rank) for rank in everyone]
    return list(dict.fromkeys([*((rank,) for rank in everyone), everyone, *filter(None, without)]))


@st.composite
def _at_one_call(draw: DrawFn, operation: Name) -> _AtOneCall:
    # As few choices as it takes: what has more, Hypothesis does not always leave out.
    failed = draw(st.integers(0, _MOST_SETS), label="which set of ranks")
    call, error = draw(sampled_from(_KINDS[operation]), label="operation on files, and its error")
    skip = draw(sampled_from(_SKIPPED), label="calls before it")
    if call == "metadata.exists":  # which is called twice
        skip %= 2
    elif not call.endswith((".write", ".read", ".seek")):  # which are called once for each file, of which there are few
        skip //= 2 if call.startswith("data.") else 9
    return _AtOneCall(call, error, failed, skip)


def _groups(operation: Name, min_calls: int, max_calls: int) -> SearchStrategy[list[_AtOneCall]]:
    group = _at_one_call(operation)
    return st.lists(group, min_size=min_calls, max_size=max_calls, unique_by=lambda group: group.call)


def file_faults(
    *, operation: Name, world_size: int, coordinator: int = 0, min_calls: int = 1, max_calls: int = 2
) -> SearchStrategy[tuple[FileFault, ...]]:
    """Operations on files that fail: ``min_calls`` to ``max_calls`` different ones, each on a set of ranks.

    That is one rank, all, or all but one. Any that DCP's file system storage makes, at the first call or at a later
    one, with any error that the system has for it; a call that does a part of its work only, and a disk that becomes
    full. Shrinks towards ``EIO`` of the first call on rank 0. More than one, since a file that cannot be written is
    closed all the same.
    """
    check_rank("coordinator", coordinator, world_size)
    check_bounds("calls", min_calls, max_calls)
    groups = _groups(operation, min_calls, max_calls)
    return groups.map(lambda drawn: _in_world(drawn, operation, world_size, coordinator))


def _of_fsspec(faults: Sequence[FileFault]) -> tuple[FileFault, ...]:
    """The faults, with what fsspec has in the place of what it has not."""
    calls = (replace(fault, call=fault.call.replace(".fsync", ".close"), error="EIO") for fault in faults)
    there = (fault if fault.is_of_fsspec else other for fault, other in zip(faults, calls, strict=True))
    return tuple({(fault.rank, fault.call, fault.skip): fault for fault in there}.values())


def _in_world(
    groups: Sequence[_AtOneCall], operation: Name, world_size: int, coordinator: int
) -> tuple[FileFault, ...]:
    return tuple(fault for group in groups for fault in group.faults(operation, world_size, coordinator))


@st.composite
def failing_file_scenarios(
    draw: DrawFn, *, max_world_size: int = 4, max_entries: int = 3, shared: bool = False
) -> Scenario:
    """Scenarios in which operations on files fail, in the save or in the load; shrinks towards one, on rank 0, or none.

    Saves by ``async_save``, with several threads and without collectives are among them, and saves over an earlier
    checkpoint, by the same ranks with or without collectives. A writer syncs its files where that is to fail. Some are
    on fsspec, or where another storage was chosen, on that, and then, if it is of the user's own, over nothing that was
    there before; with ``shared`` on none but those on which one process finds what another has saved. In one of sixteen
    nothing fails after all.
    """
    # First what is the point, since what is drawn behind something with many choices falls back to the simplest.
    name: Name = draw(sampled_from(("save", "save", "load")), label="failing")
    earlier: Earlier = draw(sampled_from(_EARLIER), label="earlier save")
    storage = within_storages(draw(sampled_from(_STORAGES), label="storage"), shared=shared)
    groups = draw(_groups(name, 1, 2), label="operations on files")
    if draw(SPARED, label="nothing fails after all"):
        groups = []
    least = int(any(group.call.startswith("data.") and group.call not in _WITHOUT_ENTRIES[name] for group in groups))
    scenario = draw(
        scenarios(failing="nothing", max_world_size=max_world_size, min_entries=least, max_entries=max_entries),
        label="scenario",
    )
    unremoved = draw(_UNREMOVED, label="what cannot be written cannot be removed, if on fsspec")
    operation = scenario.operation(name)
    faults = _in_world(groups, name, operation.world_size, operation.coordinator)
    found = find_storage(storage)
    if found.files != "system":
        faults = _of_fsspec(faults)
    if found.files == "fsspec" and unremoved and name == "save":
        ranks = sorted({fault.rank for fault in faults})
        faults = (*faults, *(FileFault("save", rank, UNWRITTEN, unremoved) for rank in ranks))
    if storage not in SHIPPED:
        earlier = "nothing"
    elif any(fault.call == "metadata.remove" for fault in faults):
        earlier = "coordinated" if scenario.save.coordinated else "uncoordinated"
    if storage != FILE_SYSTEM:
        scenario = fitted(replace(scenario, file_faults=()), storage)
    synced = found.limits.takes("sync_files") and any(fault.call.endswith(".fsync") for fault in faults)
    writer = replace(
        scenario.writer,
        sync_files=scenario.writer.sync_files or synced,
        overwrite=scenario.writer.overwrite or earlier != "nothing",
    )
    failing = replace(scenario, writer=writer, file_faults=faults, earlier=earlier)
    tell(features(failing))
    return failing
