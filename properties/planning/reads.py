"""Judges load plans: what is read fills what is wanted, each element once and from its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.distributed.checkpoint.default_planner import create_default_local_load_plan
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import LoadItemType, ReadItem
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

from worlds.plans import Box, Load, LoadEntry, Reads, Tiled, whole

from .breach import PlanBreach, PlanRaised, WrongRead, result_of
from .build import ShardedTarget, chunk, read_of, storage_metadata, tensor_metadata
from .model import read_defect

__all__ = ["judge_load_plan", "judge_reads"]

_FILLED = "each wanted chunk is read exactly once, from where it was saved"


def judge_reads(case: Reads) -> Iterator[PlanBreach]:
    """``create_read_items_for_chunk_list`` on one tensor."""
    wanted = [chunk(box) for box in case.wanted]
    items = result_of(lambda: create_read_items_for_chunk_list("a", tensor_metadata(case.saved), wanted))
    if isinstance(items, Exception):
        yield PlanBreach(PlanRaised, f"read items: raised {type(items).__name__}: {items}", _FILLED, items)
        return
    yield from _filled("a", case.saved, case.wanted, items)


def _filled(fqn: str, saved: Tiled, wanted: Sequence[Box], items: Sequence[ReadItem]) -> Iterator[PlanBreach]:
    reads = [read_of(item) for item in items]
    for item in items:
        if item.type is not LoadItemType.TENSOR or {item.dest_index.fqn, item.storage_index.fqn} != {fqn}:
            yield PlanBreach(WrongRead, f"read items: one is not of the tensor {fqn!r}", fqn, item)
    defect = read_defect(saved, wanted, reads)
    if defect is not None:
        yield PlanBreach(WrongRead, f"read items: {defect}", _FILLED, reads)


def judge_load_plan(case: Load) -> Iterator[PlanBreach]:
    """``create_default_local_load_plan`` on a state dict: what does not fit is refused, and the rest is read."""
    names = [f"t{index}" for index in range(len(case.entries))]
    entries = dict(zip(names, case.entries, strict=True))
    state = {name: _target(entry) for name, entry in entries.items()}
    saved = {name: storage_metadata(entry.saved) for name, entry in entries.items() if not entry.missing}
    plan = result_of(lambda: create_default_local_load_plan(state, Metadata(saved), case.strict))
    refusals = [_refusal(entry, case.strict) for entry in case.entries]
    expected = next(filter(None, refusals), None)
    if isinstance(plan, Exception):
        if expected is None or type(plan) is not expected:
            headline = f"load plan: raised {type(plan).__name__}: {plan}"
            yield PlanBreach(PlanRaised, headline, expected.__name__ if expected else "no error", plan)
        return
    if expected is not None:
        yield PlanBreach(PlanRaised, f"load plan: made, and {expected.__name__} was due", expected.__name__, plan)
        return
    for name, entry in entries.items():
        items = [item for item in plan.items if item.dest_index.fqn == name]
        yield from _entry(name, entry, items)
    known = [item for item in plan.items if item.dest_index.fqn in saved]
    if len(known) != len(plan.items):
        yield PlanBreach(WrongRead, "load plan: reads what is not in the checkpoint", names, plan.items)


def _target(entry: LoadEntry) -> object:
    shape = entry.saved.shape if entry.saved is not None else (2,)
    match entry.target:
        case "boxes":
            return ShardedTarget(shape, entry.wanted)
        case "tensor":
            return torch.empty(shape)
        case "resized":
            return torch.empty((*shape, 2))
        case "object":
            return "an object"


def _refusal(entry: LoadEntry, strict: bool) -> type[Exception] | None:
    """What has to be raised for this entry, if it is the first of its kind."""
    if entry.missing:
        return RuntimeError if strict else None
    if entry.saved is not None and entry.target in ("object", "resized"):
        return ValueError
    return None


def _entry(name: str, entry: LoadEntry, items: Sequence[ReadItem]) -> Iterator[PlanBreach]:
    if entry.missing:
        if items:
            yield PlanBreach(WrongRead, f"load plan: reads {name!r}, which was not saved", "no read", items)
    elif entry.saved is None:
        if [(item.type, item.storage_index.fqn) for item in items] != [(LoadItemType.BYTE_IO, name)]:
            yield PlanBreach(WrongRead, f"load plan: does not read the object {name!r} once", "one read", items)
    else:
        wanted = entry.wanted if entry.target == "boxes" else (whole(entry.saved.shape),)
        yield from _filled(name, entry.saved, wanted, items)
