"""Which faults of a scenario are reached for sure, which perhaps: who calls each hook, and who has an item for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from worlds.entries import Nested, TensorEntry
from worlds.faults import Fault
from worlds.file_faults import FileFault
from worlds.parts import Part
from worlds.scenario import Scenario
from worlds.state_tree import Unit, is_there

__all__ = [
    "REFUSAL",
    "Chance",
    "Reach",
    "chance_of_items",
    "collisions",
    "is_called",
    "reached",
    "refusals",
    "shards_on_meta",
    "write_holders",
]

Name = Literal["save", "load"]
Chance = Literal["never", "maybe", "surely"]

REFUSAL = -1
"""Stands, among the numbers of ``Scenario.all_faults``, for an input that DCP must refuse."""

_FLATTENING, _PLANNING = 20, 40
"""When a rank refuses: as it flattens its state dict (``set_up_planner``), or as it plans what to load."""


@dataclass(frozen=True)
class Reach:
    """A fault, or a refusal: when it strikes in the course of its rank, and whether the rank surely gets there."""

    index: int
    rank: int
    step: int
    certain: bool


def reached(scenario: Scenario, name: Name) -> Iterator[Reach]:
    """What can make ranks fail in that operation, taken by itself, but for operations on files."""
    for index, fault in enumerate(scenario.faults):
        hook = fault.place
        if fault.operation != name or not is_called(scenario, fault):
            continue
        chance: Chance = _chance(scenario, fault.hook, name, fault.rank) if hook.per_item else "surely"
        if chance != "never":
            # A future fails only after all that its hook does, which includes the items.
            step = 10 * hook.step if fault.through == "call" else 100 + hook.step
            yield Reach(index, fault.rank, step, certain=chance == "surely")
    for rank in refusals(scenario, name):
        first = name == "load" and bool(shards_on_meta(scenario, rank))
        step = _FLATTENING if first or collisions(scenario, name, rank) else _PLANNING
        yield Reach(REFUSAL, rank, step, certain=True)


def is_called(scenario: Scenario, fault: Fault | FileFault) -> bool:
    """Whether the rank has that part in the operation: the coordinator's, or that of every rank."""
    operation = scenario.operation(fault.operation)
    if fault.hook.endswith(".reset") and operation.named_by == "storage":
        return False  # it is told no path
    on_coordinator = fault.rank == operation.coordinator
    return on_coordinator or fault.place.role == "rank" or not _coordinates(scenario, fault.operation)


def _coordinates(scenario: Scenario, name: Name) -> bool:
    """Whether one rank plans and finishes for all, and not each for itself."""
    return name == "load" or scenario.save.coordinated


def chance_of_items(scenario: Scenario, name: Name, rank: int) -> Chance:
    """Whether that rank has anything to write, or to read."""
    hooks = ("planner.resolve_data",) if name == "save" else ("planner.load_bytes", "planner.resolve_tensor")
    chances = {_chance(scenario, hook, name, rank) for hook in hooks}
    return "surely" if "surely" in chances else "maybe" if "maybe" in chances else "never"


def _chance(scenario: Scenario, hook: str, name: Name, rank: int) -> Chance:
    """Whether the hook that is called for each item is called on that rank."""
    if hook.startswith("stateful."):
        found = any(
            isinstance(entry, Nested) and entry.container == "stateful" and is_there(entry, name)
            for entry in scenario.entries
        )
        return "surely" if found else "never"
    if hook == "planner.resolve_data":
        chances = {_writes(holders, rank, part) for part, holders in write_holders(scenario)}
    else:
        chances = {_reads(scenario, unit, hook, rank) for unit in scenario.units("load") if unit.is_on("load", rank)}
    return "surely" if "surely" in chances else "maybe" if "maybe" in chances else "never"


def _writes(holders: frozenset[int], rank: int, part: Part | None) -> Chance:
    if rank not in holders:
        return "never"
    # A part without elements is nothing that has to be written.
    has_content = part is None or bool(math.prod(part.sizes))
    return "surely" if holders == {rank} and has_content else "maybe"


def _reads(scenario: Scenario, unit: Unit, hook: str, rank: int) -> Chance:
    saved = saved_units(scenario).get(unit.fqn)
    if saved is None:
        return "never"
    if hook == "planner.load_bytes":
        return "surely" if saved.tensor is None else "never"
    if unit.tensor is None or unit.tensor.loaded is None:
        return "never"
    parts = unit.tensor.loaded.parts(unit.tensor.shape, rank)
    if any(math.prod(part.sizes) for part in parts):
        return "surely"
    return "maybe" if parts else "never"


@lru_cache(maxsize=64)
def saved_units(scenario: Scenario) -> dict[str, Unit]:
    """What is saved, by name."""
    return {unit.fqn: unit for unit in scenario.units("save")}


@lru_cache(maxsize=64)
def write_holders(scenario: Scenario) -> tuple[tuple[Part | None, frozenset[int]], ...]:
    """Each item that is to be written (a part of a tensor, or ``None`` for an object), and who may write it.

    That is one of the ranks that hold it: the lowest of them where the planner is told so. Where ranks do not
    coordinate, each writes its own, and so there is an item for each.
    """
    found: dict[tuple[str, Part | None], set[int]] = {}
    ranks = range(scenario.save.world_size)
    for unit in scenario.units("save"):
        for rank in ranks:
            if not unit.is_on("save", rank):
                continue
            tensor = unit.tensor
            parts = [None] if tensor is None or tensor.saved is None else tensor.saved.parts(tensor.shape, rank)
            for part in parts:
                found.setdefault((unit.fqn, part), set()).add(rank)
    holders = [(part, frozenset(ranks)) for (_, part), ranks in found.items()]
    if not scenario.save.coordinated:
        return tuple((part, frozenset({rank})) for part, ranks in holders for rank in sorted(ranks))
    if scenario.planner.dedup_save_to_lowest_rank:
        return tuple((part, frozenset({min(ranks)})) for part, ranks in holders)
    return tuple(holders)


@lru_cache(maxsize=64)
def refusals(scenario: Scenario, name: Name) -> dict[int, tuple[str, ...]]:
    """The ranks that must refuse what they are given, each with the names of what they refuse."""
    operation = scenario.operation(name)
    found = {}
    for rank in range(operation.world_size):
        units = _given(scenario, name, rank)
        names = tuple(_collisions(units) if name == "save" else _mismatches(scenario, units))
        if name == "load":
            names = (*shards_on_meta(scenario, rank), *names)
        if names:
            found[rank] = names
    return found


def _given(scenario: Scenario, name: Name, rank: int) -> list[Unit]:
    return [unit for unit in scenario.units(name) if _is_given(scenario, unit, name, rank)]


def _is_given(scenario: Scenario, unit: Unit, name: Name, rank: int) -> bool:
    """Whether the planner of that rank sees it.

    A load flattens sharded tensors before all else, and leaves nothing of one without a shard.
    """
    layout = unit.tensor.layout(name) if unit.tensor is not None else None
    flattened = name == "load" and scenario.planner.flatten_sharded_tensors
    if layout is not None and layout.kind == "ShardedTensor" and flattened:
        assert unit.tensor is not None
        return bool(layout.parts(unit.tensor.shape, rank))
    return unit.is_on(name, rank)


def collisions(scenario: Scenario, name: Name, rank: int) -> tuple[str, ...]:
    """The names that stand for two things once the rank has flattened its state dict, which it must refuse."""
    return tuple(_collisions(_given(scenario, name, rank)))


def _collisions(units: list[Unit]) -> Iterator[str]:
    """Names that stand for two things once the state dict is flattened."""
    names = [unit.fqn for unit in units]
    yield from dict.fromkeys(name for name in names if names.count(name) > 1)


def _mismatches(scenario: Scenario, units: list[Unit]) -> Iterator[str]:
    """What cannot be loaded from the checkpoint: it is not there, or is something else there."""
    yield from _collisions(units)
    for unit in units:
        saved = saved_units(scenario).get(unit.fqn)
        if saved is None:
            if not scenario.planner.allow_partial_load:
                yield unit.fqn
        elif (saved.tensor is None) != (unit.tensor is None) or _type(saved) != _type(unit):
            yield unit.fqn


def shards_on_meta(scenario: Scenario, rank: int) -> tuple[str, ...]:
    """The names of the ``ShardedTensor``s on the meta device of which the rank has shards: DCP can make none."""
    found = []
    for leaf in scenario.leaves("load"):
        layout = leaf.entry.layout("load")
        if layout is not None and layout.memory == "meta" and layout.kind == "ShardedTensor":
            assert isinstance(leaf.entry, TensorEntry)
            if layout.parts(leaf.entry.shape, rank):
                found.append(leaf.fqn)
    return tuple(found)


def _type(unit: Unit) -> tuple[tuple[int, ...], str] | None:
    return None if unit.tensor is None else (unit.tensor.shape, unit.tensor.dtype)
