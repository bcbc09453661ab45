"""Scripts of what is wrong with save plans: dedup, the files of a rank, the global plan, and what is cached of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from properties.planning.breach import PlanBreach, Unbalanced
from worlds.plans import Comparison, Conflict, Item, Merge, Plans, Split

from ..text import Code, Items, headed, quoted, render
from .section import Section, exit_if

__all__ = ["of_comparison", "of_conflict", "of_dedup", "of_merge", "of_split"]

_SHARD = '''\
def shard(fqn, offsets, sizes, shape, dtype=torch.float32):
    """What a rank plans to write of a tensor of that shape: a shard of it."""
    chunk = ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes))
    data = TensorWriteData(chunk, TensorProperties(dtype=dtype), torch.Size(shape))
    return WriteItem(MetadataIndex(fqn, chunk.offsets), WriteItemType.SHARD, tensor_data=data)'''
_OBJECT = '''\
def pickled(fqn):
    """What a rank plans to write of an object."""
    return WriteItem(MetadataIndex(fqn), WriteItemType.BYTE_IO)'''
_SIZE = '''\
def size(items):
    """How many bytes of tensors are written for the items."""
    data = [item.tensor_data for item in items if item.tensor_data is not None]
    return sum(each.chunk.sizes.numel() * each.properties.dtype.itemsize for each in data)'''


def _item(item: Item) -> Code:
    if item.box is None:
        return f"pickled({quoted(item.fqn)})"
    dtype = () if item.dtype == "float32" else (f"torch.{item.dtype}",)
    return Items("shard(", (quoted(item.fqn), str(item.box.offsets), str(item.box.sizes), str(item.shape), *dtype))


def _helpers(items: Sequence[Item]) -> tuple[str, ...]:
    shards = (_SHARD,) if any(item.box is not None for item in items) else ()
    return (*shards, _OBJECT) if any(item.box is None for item in items) else shards


def _list(items: Sequence[Item]) -> Items:
    return Items("[", tuple(map(_item, items)))


def _plan(items: Sequence[Item], *arguments: Code) -> Items:
    return Items("SavePlan(", (_list(items), *arguments))


def _shown(breach: PlanBreach) -> list[Any]:
    """What was seen, which is there for several ranks or files."""
    assert isinstance(breach.seen, dict | list)
    return list(breach.seen.values()) if isinstance(breach.seen, dict) else breach.seen


def of_dedup(case: Plans, breach: PlanBreach) -> Section:
    """``dedup_save_plans``: an item is lost, or the ranks get unequal shares."""
    planned = case.of_each_rank()
    lines = [
        render(Items("plans = [", tuple(map(_plan, planned)))),
        "kept = dedup_save_plans(plans)",
    ]
    helpers = _helpers([item for items in planned for item in items])
    if breach.kind is Unbalanced:
        lines += [
            "sizes = [size(plan.items) for plan in kept]",
            "largest = max(size([item]) for plan in kept for item in plan.items)",
            exit_if("max(sizes) - min(sizes) > largest", 'f"the ranks write {sizes} bytes"'),
        ]
        expected = "dedup_save_plans() gives ranks that have the same items shares that differ by one item at most"
        return Section(expected, f"the ranks write {_shown(breach)} bytes", tuple(lines), (*helpers, _SIZE))
    lines += [
        "written = [item for plan in kept for item in plan.items]",
        "lost = [item for plan in plans for item in plan.items if item not in written]",
        exit_if("lost", 'f"no rank writes {lost}"'),
    ]
    return Section("dedup_save_plans() keeps each item on a rank", "an item is on no rank", tuple(lines), helpers)


def of_split(case: Split, breach: PlanBreach) -> Section:
    """``_split_by_size_and_type``: the files are of unequal size."""
    lines = (
        render(headed("items = ", _list(case.items))),
        f"sizes = [size(file) for file in _split_by_size_and_type({case.bins}, items)]",
        "largest = max(size([item]) for item in items)",
        exit_if("max(sizes) - min(sizes) > largest", 'f"the files have {sizes} bytes"'),
    )
    expected = "_split_by_size_and_type() makes files whose sizes differ by the largest item at most"
    return Section(expected, f"the files have {_shown(breach)} bytes", lines, (*_helpers(case.items), _SIZE))


def of_conflict(case: Conflict, breach: PlanBreach) -> Section:
    """``create_global_plan``: two ranks have different things under one name."""
    paths = f'planner_data={{"{case.one.fqn}": ("{case.one.fqn}",)}}'
    lines = (
        render(Items("plans = [", (_plan([case.one], paths), _plan([case.other], paths)))),
        "planner = dcp.DefaultSavePlanner()",
        "planner.set_up_planner({}, is_coordinator=True)",
        "try:\n"
        "    metadata = planner.create_global_plan(plans)[1]\n"
        "except ValueError as error:\n"
        '    print(f"refused: {error}")\n'
        "else:\n"
        '    sys.exit(f"accepted, and recorded as {metadata.state_dict_metadata}")',
    )
    expected = "create_global_plan() refuses plans of two ranks that have different things under one name"
    return Section(expected, "create_global_plan() accepts them", lines, _helpers([case.one, case.other]))


def of_comparison(case: Comparison, breach: PlanBreach) -> Section:
    """``_compare_save_plans``: plans are taken for the same, or for different ones."""
    lines = [
        render(headed(f"{name} = ", _plan(items, _paths(items, paths))))
        for name, items, paths in (("one", case.one, case.one_paths), ("other", case.other, case.other_paths))
    ]
    said = "the same" if breach.seen else "different"
    condition = f"{'' if breach.seen else 'not '}_compare_save_plans(one, other)"
    lines.append(exit_if(condition, quoted(f"the plans are taken for {said}")))
    expected = "_compare_save_plans() finds two plans equal if the same is saved by both, and only then"
    return Section(expected, f"it takes them for {said}", tuple(lines), _helpers([*case.one, *case.other]))


def _paths(items: Sequence[Item], paths: Sequence[tuple[str, ...]]) -> Code:
    """What the planner keeps of where the flattened names come from."""
    placed = zip(items, paths, strict=True)
    return Items("planner_data={", tuple(f"{quoted(item.fqn)}: {_tuple(path)}" for item, path in placed))


def _tuple(path: Sequence[str]) -> str:
    return f"({', '.join(map(quoted, path))}{',' if len(path) == 1 else ''})"


def of_merge(case: Merge, breach: PlanBreach) -> Section:
    """``_merge_delta_local_plans``: a rank's plan is left out."""
    cached = tuple(_plan([Item(f"cached {rank}")]) for rank in range(case.cached))
    new: list[Code] = [
        _plan([Item(f"new {rank}")]) if changed else "SavePlan([], usable=False)"
        for rank, changed in enumerate(case.changed)
    ]
    assert isinstance(breach.expected, list)
    expected = render(headed("expected = ", Items("[", tuple(map(quoted, breach.expected)))))
    lines = (
        render(Items("cached = [", cached)),
        render(Items("new = [", tuple(new))),
        "merged = _merge_delta_local_plans(cached, new)",
        "found = [item.index.fqn for plan in merged for item in plan.items]",
        expected,
        exit_if("found != expected", 'f"the plans are {found}, and should be {expected}"'),
    )
    says = "_merge_delta_local_plans() has a plan for each rank, the new one or that which was cached"
    return Section(says, f"the plans are {breach.seen}", lines, (_OBJECT,))
