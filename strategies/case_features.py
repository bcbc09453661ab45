"""What a case of another law than those on scenarios has that matters, by name; see :mod:`strategies.features`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial, singledispatch
from typing import get_args

from worlds.damage import Damage
from worlds.entries import TensorEntry
from worlds.histories import History, Load, Save, Step
from worlds.killed import KilledScenario
from worlds.layouts import ChunkSharding, EnumerableSharding, Layout, Plain
from worlds.misuses import Kind, Misuse
from worlds.quantized import BESIDE, Quantized
from worlds.rebuilding import Rebuilding
from worlds.routes import Route
from worlds.scenario import Scenario
from worlds.sequences import SaveSequence
from worlds.side_by_side import SideBySide
from worlds.storages import FILE_SYSTEM, SHIPPED
from worlds.windows import Window

__all__ = ["CASE_FEATURES", "case_features", "damage_features"]

_PLACES = {
    "planner": "at a hook of the planner",
    "writer": "at a hook of the writer",
    "reader": "at a hook of the reader",
    "stateful": "at a hook of a Stateful",
    "file": "at an operation on files",
}
"""Where a rank dies, by the first part of the place's name."""

_WRONG_IN = {
    ("save", "current"): "in save",
    ("save", "legacy"): "in save_state_dict",
    ("save", "async"): "in async_save",
    ("load", "current"): "in load",
    ("load", "legacy"): "in load_state_dict",
}
"""What has a wrong argument, by the operation and the API."""

CASE_FEATURES: dict[str, tuple[str, ...]] = {
    "without a template": (
        "dcp_to_torch_save",
        "dcp_to_torch_save, and back",
        "_load_state_dict_from_keys, everything",
        "_load_state_dict_from_keys, some keys",
        "_EmptyStateDictLoadPlanner, everything",
        "_EmptyStateDictLoadPlanner, some keys",
    ),
    "another way": (
        "torch_save_to_dcp",
        "BroadcastingTorchSaveReader",
        "BroadcastingTorchSaveReader, plain tensors alone",
        "BroadcastingTorchSaveReader, not flattened",
        "window of a plain tensor",
        "window of chunks",
        "window of tiles",
    ),
    "quantized": (
        "float8_e4m3fn",
        "float8_e5m2",
        "int8",
        "bfloat16",
        "float16",
        "float32",
        "mxfp4",
        "of other dims",
        "in several blocks",
        "a part from within a block",
        "a part without elements",
        "scales loaded as they are",
        "scales in a file of their own",
        "by several threads",
        "to another dtype",
        "into another dtype",
        "into shards",
        "partial load",
        "beside a name like its own",
    ),
    "wrong argument": (
        *get_args(Kind),
        *_WRONG_IN.values(),
        "on every rank",
        "on some ranks",
    ),
    "side by side": (
        "two groups",
        "two groups with a rank in both",
        "two groups, one of which fails",
        "two uploads, each with a group",
        "two uploads over one group",
    ),
    "one after the other": (
        "the same again",
        "another dtype",
        "another shape",
        "another sharding",
        "other entries",
        "another order of entries",
        "after a failure",
    ),
    "step of a history": (
        "save, the first of a checkpoint",
        "save over a checkpoint",
        "save over what failed",
        "save elsewhere",
        "save that fails",
        "save in which an operation on a file fails",
        "save over what an operation on a file has broken",
        "save that is not to overwrite",
        "save by async_save",
        "save by async_save, overtaken by a save there",
        "save by async_save, overtaken by a save elsewhere",
        "save by async_save, overtaken by a load",
        "save without some entries",
        "save by another world size",
        "load",
        "load of what may be mixed",
        "load of nothing",
        "load of what an operation on a file has broken",
        "load that fails",
        "load in which an operation on a file fails",
        "load by another world size",
        "load without some entries",
        "partial load",
        "writer used again",
        "reader used again",
        "planner used again",
        "stager used again",
        "tensors used again",
        "plans kept",
        *(f"on {name}" for name in SHIPPED if name != FILE_SYSTEM),
    ),
    "ranks that die": (
        "in a save beside a checkpoint",
        "in a save over a checkpoint",
        "in a load",
        "several ranks",
        "every rank",
        "when the call is done",
        "at a later call",
        *_PLACES.values(),
    ),
    "damage after the save": (
        "flipped bit",
        "flipped bit of an element",
        "truncated file",
        "empty file",
        "missing file",
        "swapped files",
        "stale file",
        "file left over",
        "flipped bit in the metadata",
        "flipped bit of a file's name in the metadata",
        "truncated metadata",
        "empty metadata",
        "missing metadata",
        "stale metadata",
        "several damages",
        "on fsspec",
        "on safetensors",
        "on consolidated",
        "on threaded",
        "on whole",
    ),
}
"""Every feature of those cases, by group."""


def case_features(case: object) -> frozenset[tuple[str, str]]:
    """The features of a case, each with its group, as :data:`CASE_FEATURES` lists them."""
    return frozenset(_features(case))


def damage_features(scenario: Scenario) -> frozenset[tuple[str, str]]:
    """What befalls the checkpoint of a scenario, each with its group."""
    found = set(map(_damage, scenario.damages))
    if len(scenario.damages) > 1:
        found.add("several damages")
    if scenario.damages and scenario.storage != FILE_SYSTEM:
        found.add(f"on {scenario.storage}")
    return frozenset(("damage after the save", name) for name in found)


def _damage(damage: Damage) -> str:
    match damage.kind:
        case "flipped":
            what = "a file's name" if damage.metadata else "an element"
            return f"flipped bit{f' of {what}' * damage.inside}{' in the metadata' * damage.metadata}"
        case "swapped":
            return "swapped files"
        case "left over":
            return "file left over"
    kind = "empty" if damage.kind == "truncated" and damage.byte == 0 else damage.kind
    return f"{kind} {'metadata' if damage.metadata else 'file'}"


@singledispatch
def _features(case: object) -> Iterator[tuple[str, str]]:
    raise TypeError(f"nothing is counted of {type(case).__name__}")


@_features.register
def _of_rebuilding(case: Rebuilding) -> Iterator[tuple[str, str]]:
    functions = {"keys": "_load_state_dict_from_keys", "planner": "_EmptyStateDictLoadPlanner"}
    if case.by in functions:
        yield "without a template", f"{functions[case.by]}, {'everything' if case.keys is None else 'some keys'}"
    else:
        yield "without a template", "dcp_to_torch_save" + ", and back" * (case.by == "there_and_back")


@_features.register
def _of_route(case: Route) -> Iterator[tuple[str, str]]:
    if case.by == "torch_save_to_dcp":
        yield "another way", "torch_save_to_dcp"
    else:
        plain = all(unit.tensor is not None and _is_plain(unit.tensor) for unit in case.scenario.units("load"))
        yield "another way", "BroadcastingTorchSaveReader" + ", plain tensors alone" * plain
        if not case.scenario.planner.flatten_state_dict:
            yield "another way", "BroadcastingTorchSaveReader, not flattened"


def _is_plain(tensor: TensorEntry) -> bool:
    return tensor.loaded is not None and tensor.loaded.kind == "Tensor"


@_features.register
def _of_window(case: Window) -> Iterator[tuple[str, str]]:
    kinds: dict[type[Layout], str] = {ChunkSharding: "chunks", EnumerableSharding: "tiles"}
    yield "another way", f"window of {kinds.get(type(case.saved), 'a plain tensor')}"


@_features.register
def _of_quantized(case: Quantized) -> Iterator[tuple[str, str]]:
    ranks = range(case.load.world_size)
    found = {
        "of other dims": len(case.sizes) != (3 if case.is_mxfp4 else 2),
        "in several blocks": math.prod(case.blocks) > 1,
        "a part from within a block": any(map(partial(_is_within_block, case), ranks)),
        "a part without elements": 0 not in case.sizes and any(map(partial(_is_empty, case), ranks)),
        "scales loaded as they are": case.loads_scales,
        "scales in a file of their own": case.apart,
        "by several threads": case.thread_count > 1 and case.apart and case.loads_scales,
        "to another dtype": case.target_dtype != "float32",
        "into another dtype": case.dtype != case.target_dtype,
        "into shards": not isinstance(case.loaded, Plain),
        "partial load": case.partial,
        "beside a name like its own": case.beside.key != BESIDE.key,
    }
    yield "quantized", case.stored
    yield from (("quantized", name) for name, there in found.items() if there)


def _is_empty(case: Quantized, rank: int) -> bool:
    """Whether the rank has a part without elements."""
    return any(0 in part.sizes for part in case.loaded.parts(case.sizes, rank))


def _is_within_block(case: Quantized, rank: int) -> bool:
    """Whether the rank has a part that begins behind the first element of a block."""
    block = 2 * case.block if case.is_mxfp4 else case.block
    boxes = (box for part in case.loaded.parts(case.sizes, rank) for box, _ in part.boxes() if box)
    return any(offset % block for box in boxes for offset in box.offsets)


@_features.register
def _of_misuse(case: Misuse) -> Iterator[tuple[str, str]]:
    yield "wrong argument", case.kind
    yield "wrong argument", _WRONG_IN[case.name, case.operation.api]
    yield "wrong argument", "on some ranks" if case.ranks else "on every rank"


@_features.register
def _of_pair(case: SideBySide) -> Iterator[tuple[str, str]]:
    uploads = {"uploads": "two uploads, each with a group", "one group": "two uploads over one group"}
    yield "side by side", uploads.get(case.how, "two groups")
    for name in ("save", "load"):
        one, other = (set(scenario.operation(name).members) for scenario in case.both)
        if case.how == "groups" and one & other:
            yield "side by side", "two groups with a rank in both"
    if any(scenario.faults for scenario in case.both):
        yield "side by side", "two groups, one of which fails"


@_features.register
def _of_sequence(case: SaveSequence) -> Iterator[tuple[str, str]]:
    for before, after in itertools.pairwise(case.steps):
        yield from (("one after the other", change) for change in _changes(before, after))


def _changes(before: Scenario, after: Scenario) -> Iterator[str]:
    if before.faults:
        yield "after a failure"
    if before.entries == after.entries:
        yield "the same again"
        return
    if {entry.key for entry in before.entries} != {entry.key for entry in after.entries}:
        yield "other entries"
    elif [entry.key for entry in before.entries] != [entry.key for entry in after.entries]:
        yield "another order of entries"
    tensors = {unit.fqn: unit.tensor for unit in before.units("save")}
    for unit in after.units("save"):
        old, new = tensors.get(unit.fqn), unit.tensor
        if old is not None and new is not None:
            found = {
                "another dtype": old.dtype != new.dtype,
                "another shape": old.shape != new.shape,
                "another sharding": old.saved != new.saved,
            }
            yield from (change for change, there in found.items() if there)


@_features.register
def _of_history(case: History) -> Iterator[tuple[str, str]]:
    seen: dict[str, list[Save]] = {}
    for index, step in enumerate(case.steps):
        before = seen.setdefault(step.at, [])
        found = list(_of_save(step, before, len(seen)) if isinstance(step, Save) else _of_load(step, before))
        found += [f"{kind} used again" for kind in step.again if not case.begins_job(index)]
        if case.is_overtaken(index):
            found.append(f"save by async_save, overtaken by {_overtaking(step, case.steps[index + 1])}")
        if case.planner.enable_plan_caching and index and isinstance(step, Save):
            found.append("plans kept")
        if case.storage != FILE_SYSTEM:
            found.append(f"on {case.storage}")
        yield from (("step of a history", name) for name in found)
        if isinstance(step, Save):
            before.append(step)


def _overtaking(step: Step, following: Step) -> str:
    if isinstance(following, Load):
        return "a load"
    return "a save there" if following.at == step.at else "a save elsewhere"


def _of_save(step: Save, before: list[Save], places: int) -> Iterator[str]:
    if not before:
        yield "save elsewhere" if places > 1 else "save, the first of a checkpoint"
    else:
        yield "save over what failed" if before[-1].all_faults else "save over a checkpoint"
        if not step.overwrite:
            yield "save that is not to overwrite"
    if step.faults:
        yield "save that fails"
    if step.file_faults:
        yield "save in which an operation on a file fails"
    if before and before[-1].file_faults:
        yield "save over what an operation on a file has broken"
    if step.operation.uploads:
        yield "save by async_save"
    if step.without:
        yield "save without some entries"
    if before and _ranks(before[-1]) != _ranks(step):
        yield "save by another world size"


def _of_load(step: Load, before: list[Save]) -> Iterator[str]:
    if not before or all(save.all_faults for save in before):
        yield "load of nothing"
    else:
        yield "load of what may be mixed" if before[-1].all_faults else "load"
        if _ranks(before[-1]) != _ranks(step):
            yield "load by another world size"
        if before[-1].file_faults:
            yield "load of what an operation on a file has broken"
    if step.faults:
        yield "load that fails"
    if step.file_faults:
        yield "load in which an operation on a file fails"
    if step.without:
        yield "load without some entries"
    if step.partial:
        yield "partial load"


def _ranks(step: Step) -> int:
    return step.operation.world_size


@_features.register
def _of_killed(case: KilledScenario) -> Iterator[tuple[str, str]]:
    where = {"another": "beside", "same": "over"}[case.path]
    found = ["in a load" if case.operation == "load" else f"in a save {where} a checkpoint"]
    if len(case.kills) > 1:
        found.append("several ranks")
    if len(case.kills) == case.scenario.operation(case.operation).world_size:
        found.append("every rank")
    for kill in case.kills:
        found.append(_PLACES[kill.place.partition(".")[0]])
        if kill.done:
            found.append("when the call is done")
        if kill.skip and kill.place != "file.write":
            found.append("at a later call")
    yield from (("ranks that die", name) for name in found)
