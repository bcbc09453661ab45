"""The ledger's predicates: whether a known issue explains a breach, all of it, and nothing beside it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from worlds.plans import (
    Box,
    ChunkedShape,
    Comparison,
    Conflict,
    Item,
    Merge,
    MeshLayout,
    NestedState,
    Plans,
    Split,
    Tiled,
    Validation,
    whole,
)

from .breach import (
    AcceptedWrong,
    NotInverse,
    PlanBreach,
    PlanRaised,
    RefusedRight,
    Unbalanced,
    WrongComparison,
    WrongItems,
    WrongOffsets,
)
from .model import could_be_last, index_of, item_bytes, tiling_defect
from .nested_model import assembled, leaves, mappings, same


def _index(item: Item) -> tuple[str, tuple[int, ...] | None]:
    """What DCP knows an item by."""
    return item.fqn, None if item.box is None else item.box.offsets


def shares_its_offset(case: Plans, breach: PlanBreach) -> bool:
    """An item is lost, or where it should not be, and another has the same name and offsets."""
    item = breach.subject
    if breach.kind is not WrongItems or not isinstance(item, Item):
        return False
    twins = {held.item for held in case.held if _index(held.item) == _index(item)}
    return len(twins) > 1


def weighed_as_whole(case: Plans | Split, breach: PlanBreach) -> bool:
    """Items are spread as they should be if each had the bytes of its whole tensor."""
    if breach.kind is not Unbalanced or not isinstance(breach.subject, list):
        return False
    if isinstance(case, Split):
        tensors = [[item for item in bucket if item.box is not None] for bucket in breach.subject]
        # Unlike dedup, this one gives no weight to what is empty.
        loads = [[_whole_bytes(item) if whole(item.shape).numel else 0 for item in bucket] for bucket in tensors]
        largest = max(size for bucket in loads for size in bucket)
        return max(map(sum, loads)) - min(map(sum, loads)) <= largest
    holders: dict[object, set[int]] = {}
    for held in case.held:
        holders.setdefault(_index(held.item), set()).update(case.holders(held))
    sizes = [{_index(item): _whole_bytes(item) for item in items} for items in breach.subject]
    load = [sum(of_rank.values()) for of_rank in sizes]
    return all(
        not of_rank or any(could_be_last(load, rank, of_rank[index], sorted(holders[index])) for index in of_rank)
        for rank, of_rank in enumerate(sizes)
    )


def _whole_bytes(item: Item) -> int:
    return item_bytes(item if item.box is None else replace(item, box=whole(item.shape)))


def has_no_dims(case: Validation | Conflict, breach: PlanBreach) -> bool:
    """A 0-d tensor is accepted without its chunk, or with more, or with another rank's of another shape."""
    if isinstance(case, Conflict):
        return breach.kind is AcceptedWrong and case.one.box == whole(()) and case.other.shape != ()
    return breach.kind is AcceptedWrong and breach.subject.shape == ()


def lacks_elements_in_one_plan(case: Validation, breach: PlanBreach) -> bool:
    """One rank's chunks are accepted that have nothing wrong but a gap."""
    return breach.kind is AcceptedWrong and case.plans == 1 and _has_only_gaps(breach.subject)


def _has_only_gaps(tiled: Tiled) -> bool:
    defect = tiling_defect(tiled)
    return defect is not None and defect.endswith("is in no chunk")


def has_more_dims(case: Validation | Conflict, breach: PlanBreach) -> bool:
    """Chunks are accepted that have nothing wrong but more dims than the tensor."""
    if breach.kind is not AcceptedWrong:
        return False
    if isinstance(case, Conflict):
        tiled = Tiled(case.one.shape, tuple(item.box for item in (case.one, case.other) if item.box is not None))
    else:
        tiled = breach.subject
    dims = len(tiled.shape)
    if not any(len(box.offsets) > dims for box in tiled.boxes):
        return False
    cut = Tiled(tiled.shape, tuple(Box(box.offsets[:dims], box.sizes[:dims]) for box in tiled.boxes))
    in_one_plan = isinstance(case, Validation) and case.plans == 1
    # The other dims count for the volume alone, and so may hide a gap.
    hidden = sum(box.numel for box in tiled.boxes) == whole(tiled.shape).numel
    return tiling_defect(cut) is None or ((in_one_plan or hidden) and _has_only_gaps(cut))


def refused_for_empty_chunks(case: Validation | Tiled, breach: PlanBreach) -> bool:
    """A tiling is refused for an overlap of two chunks, one of which is empty."""
    if breach.kind is not RefusedRight:
        return False
    tiled: Tiled = case if isinstance(case, Tiled) else breach.subject
    messages = [str(breach.seen)] if isinstance(case, Tiled) else [str(said) for said in breach.seen]  # type: ignore[attr-defined]
    return not all(box.numel for box in tiled.boxes) and all("overlap" in message for message in messages)


def disagrees_on_dtype_or_shape(case: Conflict, breach: PlanBreach) -> bool:
    """The chunks tile the first one's shape, and of two that begin at the same place the first one alone does."""
    one, other = case.one, case.other
    if breach.kind is not AcceptedWrong or one.box is None or other.box is None:
        return False
    kept = (one.box,) if one.box.offsets == other.box.offsets else (one.box, other.box)
    return tiling_defect(Tiled(one.shape, kept)) is None


def empty_chunks_behind_the_end(case: ChunkedShape, breach: PlanBreach) -> bool:
    """All chunks are right but those that have no rows, and those begin behind the end."""
    if breach.kind is not WrongOffsets or breach.subject is None:
        return False
    expected, seen = breach.subject
    dim = case.dim % len(case.shape)
    return len(expected) == len(seen) and all(
        wrong == right
        or (
            right.sizes[dim] == 0
            and wrong.sizes == right.sizes
            and wrong.offsets[dim] > case.shape[dim]
            and _without(wrong.offsets, dim) == _without(right.offsets, dim)
        )
        for right, wrong in zip(expected, seen, strict=True)
    )


def _without(values: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return values[:dim] + values[dim + 1 :]


def compared(one: Item, other: Item) -> Comparison:
    """Two plans of one item each, flattened from the same path."""
    return Comparison((one,), (other,), ((one.fqn,),), ((other.fqn,),))


def differs_in_dtype_alone(case: Comparison, breach: PlanBreach) -> bool:
    """Plans are taken for the same that have other dtypes."""
    if breach.kind is not WrongComparison or not breach.seen or case.one_paths != case.other_paths:
        return False
    one, other = ([replace(item, dtype="float32") for item in items] for items in (case.one, case.other))
    return case.one != case.other and one == other


def differs_in_paths_alone(case: Comparison, breach: PlanBreach) -> bool:
    """Plans are taken for the same whose names come from other paths."""
    if breach.kind is not WrongComparison or not breach.seen:
        return False
    return case.one == case.other and case.one_paths != case.other_paths


def cut_off(case: Merge, breach: PlanBreach) -> bool:
    """All is right but that there is nothing for the ranks behind the cached ones."""
    if breach.kind is not WrongItems:
        return False
    expected, seen = breach.subject
    return case.cached < len(case.changed) and seen == expected[: case.cached]


def is_strided(case: MeshLayout, breach: PlanBreach) -> bool:
    """The elements that are no box are those of a strided dim."""
    strided = {cut.dim for cut in case.placements if cut is not None and cut.split > 1}
    gaps = {dim for dim, axis in enumerate(breach.subject) if int(axis[-1]) - int(axis[0]) != len(axis) - 1}
    return breach.kind is WrongOffsets and bool(gaps) and gaps <= strided


def follows_the_placements(case: MeshLayout, breach: PlanBreach) -> bool:
    """Rows that do not divide evenly, and the box is that of the placements, taken from left to right."""
    if breach.kind is not WrongOffsets or not isinstance(breach.subject, int):
        return False
    parts = math.prod(size for cut, size in zip(case.placements, case.mesh, strict=True) if cut is not None)
    index = index_of(case, breach.subject)
    followed = Box(tuple(int(axis[0]) if len(axis) else case.shape[0] for axis in index), tuple(map(len, index)))
    return case.shape[0] % parts != 0 and breach.seen == followed


def _in_one(case: NestedState) -> Any:
    """What becomes of a state dict that is put together from the paths of its leaves; raises where they meet."""
    return assembled([(path, value) for path, value in leaves(case.state, into=(list,)) if path]) if case.state else {}


def lost_an_empty_mapping(case: NestedState, breach: PlanBreach) -> bool:
    """All is there but an empty mapping, and what was a list of such."""
    try:
        return any(not mapping for mapping in mappings(case.state)) and _is_of_its_leaves(case, breach)
    except ValueError:  # paths that meet, which is another matter
        return False


def changed_keys_to_text(case: NestedState, breach: PlanBreach) -> bool:
    """All is there but that keys have become text, or have met by it."""
    if all(isinstance(key, str) for mapping in mappings(case.state) for key in mapping):
        return False
    try:
        return _is_of_its_leaves(case, breach)
    except ValueError:  # paths that meet: whatever comes of it comes of that
        return breach.kind in (NotInverse, PlanRaised)


def _is_of_its_leaves(case: NestedState, breach: PlanBreach) -> bool:
    left = _in_one(case)
    return breach.kind is NotInverse and breach.subject is not None and same(breach.subject, left)


def left_tuples_whole(case: NestedState, breach: PlanBreach) -> bool:
    """All is visited as documented, but for tuples."""
    return breach.kind is NotInverse and same(breach.subject, list(leaves(case.state, into=(list,))))


def looked_up_behind_the_end(case: NestedState, breach: PlanBreach) -> bool:
    """An ``IndexError``, and the path's place is the length of the list."""
    if breach.kind is not PlanRaised or not isinstance(breach.seen, IndexError):
        return False
    value: Any = case.state
    for step in case.path:
        if isinstance(value, list) and step == len(value):
            return True
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return False
    return False
