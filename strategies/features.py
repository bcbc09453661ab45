"""What a scenario has that matters, by name: for statistics, for the table of what is drawn, and for whoever steers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Literal

from worlds.entries import Entry, Form, Nested, ObjectEntry, TensorEntry
from worlds.layouts import ChunkSharding, EnumerableSharding, Layout, MeshSharding, Plain, Replicate, StridedShard
from worlds.operations import Operation, PlannerOptions, WriterOptions
from worlds.parts import Part
from worlds.scenario import Scenario
from worlds.storages import FILE_SYSTEM, SHIPPED

__all__ = ["ACCELERATED", "FEATURES", "STAGING", "features"]

Name = Literal["save", "load"]

ACCELERATED = ("accelerator, at save", "accelerator, at load", "async_save, pinned memory")
"""The features that take an accelerator."""

STAGING = {
    "default": "default stager",
    "shared": "shared memory",
    "background": "background staging",
    "shared background": "shared memory in the background",
    "synchronized background": "synchronize_staging",
    "pinned shared background": "pinned memory",
}
"""What is said of the stagers of ``async_save`` but the writer."""

FORMS: dict[Form, str] = {
    "value": "value itself",
    "BytesIO": "BytesIO",
    "instance": "instance of a class",
    "slots": "slots",
    "slots and dict": "slots and a dict",
    "deepcopy": "copied by itself",
    "name": "pickled as its name",
    "copyreg": "pickled by copyreg",
    "reduce": "pickled as a call",
    "state": "pickled as its state",
    "list items": "pickled as items of a list",
    "dict items": "pickled as items of a dict",
    "method": "method",
    "twice": "held twice",
    "cycle": "holds itself",
    "enum": "member of an enumeration",
    "class": "class",
    "named tuple": "named tuple",
    "size": "torch.Size",
    "set": "set",
    "frozenset": "frozenset",
    "deque": "deque",
    "partial": "functools.partial",
    "date": "date",
    "array": "numpy array",
    "scalar": "numpy scalar",
    "tensor": "holds a tensor",
    "views": "holds two views",
    "parameter": "holds a parameter",
    "sparse": "holds a sparse tensor",
}
"""What is said of the forms of objects."""

FEATURES: dict[str, tuple[str, ...]] = {
    "layout": (
        "plain, on every rank",
        "plain, on some ranks",
        "ShardedTensor, chunk",
        "ShardedTensor, enumerable",
        "Checkpointable",
        "CheckpointableTensor",
        "CheckpointableTensor, padded",
        "DTensor, 1-d mesh",
        "DTensor, 2-d mesh",
        "DTensor, 3-d mesh",
    ),
    "placement": (
        "negative dim",
        "several local shards on a rank",
        "rank without a shard",
        "empty shard",
        "uneven shards",
        "sharded",
        "replicated along a mesh dim",
        "one dim sharded twice",
        "strided",
        "strided and uneven",
        "mesh leaves ranks out",
        "mesh with permuted ranks",
    ),
    "memory": (
        "contiguous",
        "transposed",
        "strided",
        "window",
        "expanded",
        "conjugated",
        "negated",
        "gradient",
        "meta",
        "accelerator, at save",
        "accelerator, at load",
    ),
    "tensor": (
        "0-d",
        "1-d",
        "2-d",
        "3-d",
        "4-d",
        "empty",
        "one element",
        "distinct bits",
        "special bits",
        "constant bits",
        "resharded",
        "another kind at load",
        "not loaded",
        "tied to another",
    ),
    "entry": (
        "tensor",
        "object",
        "dict",
        "OrderedDict",
        "list",
        "tuple",
        "Stateful",
        "empty container",
        "container in a container",
        "int key",
        "key with a dot",
        "empty key",
        "colliding names",
        "no entries",
        "module",
    ),
    "object": tuple(FORMS.values()),
    "mismatch": (
        "missing in the checkpoint",
        "another shape",
        "another dtype",
        "object for a tensor",
        "tensor for an object",
        "missing, partial load allowed",
    ),
    "api": (
        "save",
        "save_state_dict",
        "async_save",
        *(f"async_save, {name}" for name in STAGING.values()),
        "save without collectives",
        "async_save without collectives",
        "load",
        "load_state_dict",
        "save by the path alone",
        "async_save by the path alone",
        "load by the path alone",
        "save by the storage alone",
        "async_save by the storage alone",
        "load by the storage alone",
        "by the path alone, on fsspec",
        "by the path alone, on memory",
        "path that is a Path",
        "without torch.distributed",
        "no_dist",
        "sub-group",
        "another coordinator",
        "keys in another order",
        "another world size at load",
        "another order of ranks",
        "threads first",
    ),
    "option": (
        "single_file_per_rank=False",
        "sync_files=True",
        "thread_count>1",
        "per_thread_copy_ahead=0",
        "overwrite=False",
        "extension inverted",
        "extension deflated",
        "extension zstandard",
        "several extensions",
        "flatten_state_dict=False",
        "flatten_sharded_tensors=False",
        "dedup_save_to_lowest_rank=True",
        "enable_plan_caching=True",
        "allow_partial_load=True",
        "several files by name",
    ),
    "storage": tuple(SHIPPED),
}
"""Every feature, by group."""


def features(scenario: Scenario) -> frozenset[tuple[str, str]]:
    """The features of a scenario, each with its group, as :data:`FEATURES` lists them."""
    return frozenset(
        [
            *_of_entries(scenario),
            *_of_leaves(scenario),
            *_of_mismatches(scenario),
            *_of_calls(scenario),
            *(("option", name) for name in _options(scenario.writer, scenario.planner)),
            ("storage", scenario.storage),
        ]
    )


def _of_entries(scenario: Scenario) -> Iterator[tuple[str, str]]:
    if not scenario.entries:
        yield "entry", "no entries"
    if scenario.container == "module":
        yield "entry", "module"
    for entry, depth in _all(scenario.entries):
        yield "entry", _kind_of_entry(entry)
        if isinstance(entry, ObjectEntry):
            yield "object", FORMS[entry.form]
        if isinstance(entry.key, int):
            yield "entry", "int key"
        elif "." in entry.key:
            yield "entry", "key with a dot"
        elif not entry.key:
            yield "entry", "empty key"
        if isinstance(entry, Nested) and not entry.entries:
            yield "entry", "empty container"
        if isinstance(entry, Nested) and depth:
            yield "entry", "container in a container"
    names = [unit.fqn for unit in scenario.units("save")]
    if len(set(names)) < len(names):
        yield "entry", "colliding names"


def _all(entries: Sequence[Entry], depth: int = 0) -> Iterator[tuple[Entry, int]]:
    for entry in entries:
        yield entry, depth
        if isinstance(entry, Nested):
            yield from _all(entry.entries, depth + 1)


def _kind_of_entry(entry: Entry) -> str:
    if isinstance(entry, Nested):
        return {"ordered": "OrderedDict", "stateful": "Stateful"}.get(entry.container, entry.container)
    return "object" if isinstance(entry, ObjectEntry) else "tensor"


def _of_leaves(scenario: Scenario) -> Iterator[tuple[str, str]]:
    for entry, _ in _all(scenario.entries):
        if isinstance(entry, TensorEntry):
            yield from (("tensor", name) for name in _of_tensor(entry))
            for name in ("save", "load"):
                layout = entry.layout(name)
                if layout is not None:
                    yield "layout", _kind_of_layout(layout)
                    yield "memory", layout.memory
                    if layout.device == "accelerator":
                        yield "memory", f"accelerator, at {name}"
                    world = scenario.operation(name).world_size
                    yield from (("placement", what) for what in _of_placement(layout, entry.shape, world))


def _of_tensor(entry: TensorEntry) -> Iterator[str]:
    yield f"{len(entry.shape)}-d"
    if math.prod(entry.shape) < 2:
        yield "one element" if math.prod(entry.shape) else "empty"
    yield f"{entry.fill} bits"
    if entry.tied:
        yield "tied to another"
    if entry.loaded is None:
        yield "not loaded"
    elif entry.saved is not None:
        if entry.saved.kind != entry.loaded.kind:
            yield "another kind at load"
        if entry.saved != entry.loaded:
            yield "resharded"


def _kind_of_layout(layout: Layout) -> str:
    match layout:
        case Plain(ranks):
            return "plain, on some ranks" if ranks else "plain, on every rank"
        case ChunkSharding():
            return "ShardedTensor, chunk"
        case EnumerableSharding():
            held = "ShardedTensor, enumerable" if layout.holder == "ShardedTensor" else layout.holder
            return f"{held}, padded" if layout.padded else held
        case MeshSharding(mesh):
            return f"DTensor, {len(mesh)}-d mesh"


def _of_placement(layout: Layout, shape: Sequence[int], world_size: int) -> Iterator[str]:
    if isinstance(layout, Plain):
        return
    parts = [layout.parts(shape, rank) for rank in range(world_size)]
    sizes = {part.sizes for held in parts for part in held}
    if isinstance(layout, ChunkSharding) and layout.dim < 0:
        yield "negative dim"
    if any(len(held) > 1 for held in parts):
        yield "several local shards on a rank"
    if not all(parts):
        yield "rank without a shard"
    if math.prod(shape) and not all(map(math.prod, sizes)):
        yield "empty shard"
    yield "uneven shards" if len(sizes) > 1 else "sharded"
    if isinstance(layout, MeshSharding):
        yield from _of_mesh(layout, [part for held in parts for part in held], world_size)


def _of_mesh(layout: MeshSharding, parts: Sequence[Part], world_size: int) -> Iterator[str]:
    dims = [placement.dim for placement in layout.placements if not isinstance(placement, Replicate)]
    if len(dims) < len(layout.placements):
        yield "replicated along a mesh dim"
    if len(set(dims)) < len(dims):
        yield "one dim sharded twice"
    if any(isinstance(placement, StridedShard) for placement in layout.placements):
        yield "strided"
        if len({part.sizes for part in parts}) > 1:
            yield "strided and uneven"
    if len(layout.mesh_ranks) < world_size:
        yield "mesh leaves ranks out"
    if list(layout.mesh_ranks) != sorted(layout.mesh_ranks):
        yield "mesh with permuted ranks"


def _of_mismatches(scenario: Scenario) -> Iterator[tuple[str, str]]:
    saved = {unit.fqn: unit.tensor for unit in scenario.units("save")}
    for unit in scenario.units("load"):
        wanted = unit.tensor
        if unit.fqn not in saved:
            partial = scenario.planner.allow_partial_load
            yield "mismatch", "missing, partial load allowed" if partial else "missing in the checkpoint"
        elif (tensor := saved[unit.fqn]) is None or wanted is None:
            if tensor is not wanted:
                yield "mismatch", "object for a tensor" if wanted is None else "tensor for an object"
        elif tensor.shape != wanted.shape:
            yield "mismatch", "another shape"
        elif tensor.dtype != wanted.dtype:
            yield "mismatch", "another dtype"


_APIS = {
    "current": "save",
    "legacy": "save_state_dict",
    "async": "async_save",
    "uncoordinated": "save without collectives",
    "async uncoordinated": "async_save without collectives",
}


def _of_calls(scenario: Scenario) -> Iterator[tuple[str, str]]:
    yield "api", _APIS[scenario.save.api]
    if scenario.save.stager in STAGING:
        yield "api", f"async_save, {STAGING[scenario.save.stager]}"
    yield "api", "load" if scenario.load.api == "current" else "load_state_dict"
    if scenario.save.named_by != "both":
        yield "api", f"{'async_save' if scenario.save.uploads else 'save'} by the {scenario.save.named_by} alone"
    if scenario.load.named_by != "both":
        yield "api", f"load by the {scenario.load.named_by} alone"
    if scenario.storage != FILE_SYSTEM and "path" in (scenario.save.named_by, scenario.load.named_by):
        yield "api", f"by the path alone, on {scenario.storage}"
    if scenario.save.world_size != scenario.load.world_size:
        yield "api", "another world size at load"
    for operation in (scenario.save, scenario.load):
        yield from (("api", name) for name in _of_operation(operation))


def _of_operation(operation: Operation) -> Iterator[str]:
    found = {
        "without torch.distributed": not operation.distributed,
        "path that is a Path": operation.pathlike,
        "no_dist": operation.no_dist,
        "sub-group": bool(operation.members),
        "another coordinator": operation.coordinator != 0,
        "keys in another order": operation.rotated and operation.world_size > 1,
        "another order of ranks": bool(operation.schedule.order),
        "threads first": operation.schedule.threads_first,
    }
    return (name for name, there in found.items() if there)


def _options(writer: WriterOptions, planner: PlannerOptions) -> Iterator[str]:
    for options in (writer, planner):
        for field in dataclasses.fields(options):
            value = getattr(options, field.name)
            if field.name == "extensions":
                yield from (f"extension {name}" for name in value)
                yield from ["several extensions"] * (len(value) > 1)
            elif field.name == "file_indices":
                if len({number for _, number in value}) > 1:
                    yield "several files by name"
            elif value != field.default:
                yield f"{field.name}>1" if field.name == "thread_count" else f"{field.name}={value}"
