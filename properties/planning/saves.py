"""Judges save plans: dedup, the global plan, and the files that a rank spreads its items over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch.distributed.checkpoint._dedup_save_plans import dedup_save_plans
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner, create_default_global_save_plan
from torch.distributed.checkpoint.filesystem import _split_by_size_and_type
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan

from worlds.plans import Conflict, Item, Plans, Split

from .breach import (
    AcceptedWrong,
    ChangedArgument,
    PlanBreach,
    PlanRaised,
    Unbalanced,
    WrongItems,
    WrongMetadata,
    result_of,
)
from .build import box_of, item_of, save_plan, without_log, write_item
from .model import could_be_last, item_bytes

__all__ = ["judge_conflict", "judge_dedup", "judge_global_plan", "judge_split"]


def judge_dedup(case: Plans) -> Iterator[PlanBreach]:
    """``dedup_save_plans``: every item once, on a rank that had it, the lowest where that is asked for."""
    planned = case.of_each_rank()
    given = [save_plan(items, planner_data={"rank": rank}) for rank, items in enumerate(planned)]
    before = [replace(plan, items=list(plan.items)) for plan in given]
    result = result_of(lambda: dedup_save_plans(given, case.lowest))
    if isinstance(result, Exception):
        yield PlanBreach(PlanRaised, f"dedup: raised {type(result).__name__}: {result}", "no error", result)
        return
    if given != before:
        yield PlanBreach(ChangedArgument, "dedup: changed the plans that it was given", before, given)
    kept = [[item_of(item) for item in plan.items] for plan in result]
    yield from _kept_once(case, planned, kept)
    for rank, (plan, was) in enumerate(zip(result, given, strict=True)):
        if replace(plan, items=was.items) != was:
            yield PlanBreach(WrongItems, f"dedup: changed more than the items of rank {rank}'s plan", was, plan)
    if not case.lowest:
        yield from _balanced(case, kept)


def _holders(case: Plans) -> dict[Item, tuple[int, ...]]:
    """The ranks that plan each item, ascending; empty chunks may be equal, and are one item then."""
    holders: dict[Item, set[int]] = {}
    for held in case.held:
        holders.setdefault(held.item, set()).update(case.holders(held))
    return {item: tuple(sorted(ranks)) for item, ranks in holders.items()}


def _kept_once(case: Plans, planned: Sequence[list[Item]], kept: Sequence[list[Item]]) -> Iterator[PlanBreach]:
    if len(kept) != case.world_size:
        yield PlanBreach(
            WrongItems, f"dedup: {len(kept)} plans for {case.world_size} ranks", case.world_size, len(kept)
        )
        return
    ranks_of: dict[Item, list[int]] = {}
    for rank, items in enumerate(kept):
        for item in items:
            ranks_of.setdefault(item, []).append(rank)
    allowed = _holders(case)
    for item, holders in allowed.items():
        wanted = holders[:1] if case.lowest else holders
        ranks = ranks_of.pop(item, [])
        if len(set(ranks)) != 1 or ranks[0] not in wanted:
            what = f"{item} is on ranks {ranks[:8]}"
            expected = f"on exactly one of the ranks {wanted[:8]}"
            yield PlanBreach(WrongItems, f"dedup: {what}", expected, f"on {ranks}", item)
    if ranks_of:
        yield PlanBreach(WrongItems, "dedup: items that no rank planned", list(allowed), ranks_of)
    for rank, (items, of_rank) in enumerate(zip(kept, planned, strict=True)):
        here = set(items)
        if items != [item for item in of_rank if item in here]:
            yield PlanBreach(WrongItems, f"dedup: the items of rank {rank} are in another order", of_rank, items)


def _balanced(case: Plans, kept: Sequence[list[Item]]) -> Iterator[PlanBreach]:
    """The smallest plan keeps an item that several have: an order of decisions must exist in which that is so.

    In any such order, the rank that got an item had the fewest bytes of all that could. So for the last item that a
    rank got, its bytes without that item are not more than any other holder's in the end.
    """
    load = [sum(map(item_bytes, items)) for items in kept]
    holders = _holders(case)
    for rank, items in enumerate(kept):
        if items and not any(could_be_last(load, rank, item_bytes(item), holders[item]) for item in items):
            headline = f"dedup: rank {rank} is left with {load[rank]} bytes, though smaller plans had its items too"
            yield PlanBreach(Unbalanced, headline, "the smallest plan keeps an item", dict(enumerate(load)), kept)
            return


def judge_global_plan(case: Plans) -> Iterator[PlanBreach]:
    """``create_default_global_save_plan``: the metadata is what the plans say, and hints point where they should.

    On plans that are free of duplicates: each item is on the lowest rank that holds it.
    """
    alone = replace(case, held=tuple(replace(held, ranks=case.holders(held)[:1]) for held in case.held))
    planned = alone.of_each_rank()
    given = [save_plan(items, planner_data={"rank": rank}) for rank, items in enumerate(planned)]
    before = [replace(plan, items=list(plan.items)) for plan in given]  # the items themselves are frozen
    result = result_of(lambda: create_default_global_save_plan(given))
    if isinstance(result, Exception):
        yield PlanBreach(PlanRaised, f"global plan: raised {type(result).__name__}: {result}", "no error", result)
        return
    plans, metadata = result
    if given != before or [_hints(plan) for plan in given] != [_hints(plan) for plan in before]:
        yield PlanBreach(ChangedArgument, "global plan: changed the plans that it was given", before, given)
    seen = [[item_of(item) for item in plan.items] for plan in plans]
    if seen != planned:
        yield PlanBreach(WrongItems, "global plan: the plans have other items than before", planned, seen)
        return
    if [replace(plan, items=[]) for plan in plans] != [replace(plan, items=[]) for plan in given]:
        yield PlanBreach(WrongItems, "global plan: changed more than the items of a plan", given, plans)
    yield from _metadata(planned, metadata)
    yield from _hinted(plans, metadata)
    same, _ = create_default_global_save_plan(given, rewrite_index_hints=False)
    if same != before or [_hints(plan) for plan in same] != [_hints(plan) for plan in before]:
        yield PlanBreach(WrongItems, "global plan: rewrote index hints that were to be left alone", before, same)


def _hints(plan: SavePlan) -> list[int | None]:
    return [item.index.index for item in plan.items]


def _metadata(planned: Sequence[list[Item]], metadata: Metadata) -> Iterator[PlanBreach]:
    items = [item for of_rank in planned for item in of_rank]
    recorded = metadata.state_dict_metadata
    if set(recorded) != {item.fqn for item in items}:
        yield PlanBreach(WrongMetadata, "global plan: the metadata has other names", items, sorted(recorded))
        return
    for fqn, record in recorded.items():
        own = [item for item in items if item.fqn == fqn]
        if isinstance(record, BytesStorageMetadata):
            said = [Item(fqn)]
        else:
            dtype = str(record.properties.dtype).removeprefix("torch.")
            boxes = [box_of(chunk) for chunk in record.chunks]
            said = [Item(fqn, box, tuple(record.size), dtype, own[0].shard) for box in boxes]
        if Counter(own) != Counter(said):
            yield PlanBreach(WrongMetadata, f"global plan: the metadata of {fqn!r} is not what was planned", own, said)


def _hinted(plans: Sequence[SavePlan], metadata: Metadata) -> Iterator[PlanBreach]:
    used: set[tuple[str, int]] = set()
    boxes_of = {
        fqn: [box_of(chunk) for chunk in record.chunks]
        for fqn, record in metadata.state_dict_metadata.items()
        if isinstance(record, TensorStorageMetadata)
    }
    for plan in plans:
        for item in plan.items:
            if item.index.fqn not in boxes_of:
                continue
            hint, box = item.index.index, item_of(item).box
            assert box is not None
            chunks = boxes_of[item.index.fqn]
            if hint is None or not 0 <= hint < len(chunks) or chunks[hint] != box or item.index.offset != box.offsets:
                yield PlanBreach(WrongMetadata, f"global plan: the hint of {item.index} is not its chunk", box, chunks)
            elif (item.index.fqn, hint) in used:
                yield PlanBreach(WrongMetadata, "global plan: two items have one hint", "one each", item.index)
            else:
                used.add((item.index.fqn, hint))


def judge_conflict(case: Conflict) -> Iterator[PlanBreach]:
    """Two ranks that do not agree on what stands under a name cannot both be saved: the global plan is refused."""
    plans = [save_plan([case.one], {"a": ("a",)}), save_plan([case.other], {"a": ("a",)})]
    planner = DefaultSavePlanner()
    planner.set_up_planner({}, is_coordinator=True)
    with without_log():
        result = result_of(lambda: planner.create_global_plan(plans))
    if isinstance(result, Exception):
        return
    _, metadata = result
    headline = f"global plan: accepted, though ranks disagree on {case.one.fqn!r}"
    yield PlanBreach(AcceptedWrong, headline, "refused", metadata.state_dict_metadata)


def judge_split(case: Split) -> Iterator[PlanBreach]:
    """``_split_by_size_and_type``: every item in one file, as many files as asked for, and no file much the largest."""
    items = [write_item(item) for item in case.items]
    before = list(items)
    result = result_of(lambda: _split_by_size_and_type(case.bins, items))
    if isinstance(result, Exception):
        yield PlanBreach(PlanRaised, f"split: raised {type(result).__name__}: {result}", "no error", result)
        return
    if items != before:
        yield PlanBreach(ChangedArgument, "split: changed the items that it was given", before, items)
    buckets = [[item_of(item) for item in bucket] for bucket in result]
    if len(buckets) != case.bins:
        yield PlanBreach(WrongItems, f"split: {len(buckets)} files and not {case.bins}", case.bins, buckets)
        return
    seen = Counter(item for bucket in buckets for item in bucket)
    if seen != Counter(case.items):
        yield PlanBreach(WrongItems, "split: not every item is in one file", case.items, buckets)
    tensors = [[item_bytes(item) if item.box and item.box.numel else 0 for item in bucket] for bucket in buckets]
    loads = [sum(bucket) for bucket in tensors]
    largest = max((size for bucket in tensors for size in bucket), default=0)
    if max(loads) - min(loads) > largest:
        headline = f"split: files of {min(loads)} and {max(loads)} bytes, and the largest item has {largest}"
        yield PlanBreach(Unbalanced, headline, f"no two files differ by more than {largest}", loads, buckets)
