"""What the writer of scripts understands of a scenario, so that a part it does not know never makes a wrong script."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from worlds.damage import Damage
from worlds.entries import Nested, ObjectEntry, TensorEntry
from worlds.faults import Fault
from worlds.file_faults import FileFault
from worlds.layouts import ChunkSharding, EnumerableSharding, MeshSharding, Plain, Replicate, Shard, StridedShard, Tile
from worlds.operations import Operation, PlannerOptions, Schedule, WriterOptions
from worlds.planners import DEFAULT
from worlds.scenario import Scenario

__all__ = ["CannotWrite", "check_known"]


class CannotWrite(ValueError):
    """There is no script for this scenario yet; the message is one line that says which part is not known."""


# A class or a field is listed here when a module of this package writes it out. The order of the ranks is not: real
# processes run in an order of their own.
_FIELDS: dict[type, str] = {
    Scenario: "entries save load writer planner container faults damages file_faults earlier storage",
    Damage: "kind file metadata byte bit inside other",
    Operation: "world_size coordinator api distributed schedule members no_dist rotated stager named_by pathlike",
    Schedule: "order threads_first",
    TensorEntry: "key shape dtype saved loaded fill tied",
    Plain: "ranks memory device",
    MeshSharding: "mesh placements ranks memory device",
    Replicate: "",
    Shard: "dim",
    StridedShard: "dim split_factor",
    ChunkSharding: "dim ranks device",
    Tile: "rank offsets sizes",
    EnumerableSharding: "tiles holder padded device",
    ObjectEntry: "key value form saved loaded",
    Nested: "key container entries",
    PlannerOptions: (
        "flatten_state_dict flatten_sharded_tensors dedup_save_to_lowest_rank enable_plan_caching allow_partial_load"
    ),
    WriterOptions: (
        "single_file_per_rank sync_files thread_count per_thread_copy_ahead overwrite extensions file_indices"
    ),
    Fault: "operation rank hook error through",
    FileFault: "operation rank call error skip",
}


def check_known(scenario: Scenario) -> None:
    """Raise :class:`CannotWrite` if ``scenario`` says anything that no module of this package writes out."""
    if scenario.planners != DEFAULT:
        why = f"a script needs torch alone, and the planners {scenario.planners} are not torch's: replay it instead"
        raise CannotWrite(why)
    for part in _parts(scenario):
        kind = type(part)
        if kind not in _FIELDS:
            raise CannotWrite(f"there is no script for a scenario with {kind.__name__} yet")
        for field in dataclasses.fields(kind):
            value = getattr(part, field.name)
            if field.name not in _FIELDS[kind].split() and not _is_default(field, value):
                said = " ".join(repr(value).split())[:80]
                raise CannotWrite(f"there is no script for a scenario with {kind.__name__}.{field.name}={said} yet")


def _is_default(field: dataclasses.Field[object], value: object) -> bool:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return repr(value) == repr(default)


def _parts(value: object) -> Iterator[Any]:
    """Every dataclass in ``value``, itself first."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield value
        for field in dataclasses.fields(value):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _parts(item)
