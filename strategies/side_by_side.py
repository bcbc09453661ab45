"""Strategies for two saves in one program, each to a path of its own."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from worlds.operations import Operation
from worlds.scenario import Scenario
from worlds.side_by_side import How, SideBySide

from ._bounds import within_limit
from ._reused import orders, sampled_from
from ._telling import tell
from .case_features import case_features
from .tensors import world_sizes
from .whole import scenarios

__all__ = ["saves_side_by_side"]

_HOW: tuple[How, ...] = ("groups", "groups", "uploads", "one group")


@st.composite
def saves_side_by_side(draw: DrawFn, *, max_world_size: int = 4, max_entries: int = 2) -> SideBySide:
    """Two scenarios that are saved in one world, and loaded in one.

    Each group has at most ``max_world_size`` ranks, in any places of the world: the two are of different sizes, lie
    across each other, and now and then share ranks. Where they share none, ranks of one may fail, which must be nothing
    to the other. Uploads are by all ranks together. Shrinks towards two groups of one rank each.
    """
    how = draw(sampled_from(_HOW), label="how")
    shared = draw(sampled_from((0, 0, 0, 1, 2)), label="ranks in both groups")
    failing = "anything" if how == "groups" and not shared else "nothing"
    size = draw(world_sizes(max_size=max_world_size), label="world size, if uploads")
    smallest, largest = (1, max_world_size) if how == "groups" else (size, size)
    one, other = (
        draw(
            scenarios(
                failing=failing,  # type: ignore[arg-type]
                min_world_size=smallest,
                max_world_size=largest,
                max_entries=max_entries,
            ),
            label=label,
        )
        for label in ("one", "other")
    )
    if how == "groups":
        saves = _placed(draw(_orders(one.save, other.save), label="places at save"), one.save, other.save, shared)
    else:
        everyone = tuple(range(size)) if how == "uploads" else ()
        saves = (_uploaded(one.save, ()), _uploaded(other.save, everyone))
    loads = _placed(draw(_orders(one.load, other.load), label="places at load"), one.load, other.load, shared)
    one, other = (_with(scenario, save, load) for scenario, save, load in zip((one, other), saves, loads, strict=True))
    if _share(saves) or _share(loads):
        one, other = replace(one, faults=()), replace(other, faults=())
    pair = SideBySide(one, other, how)
    tell(case_features(pair))
    return pair


def _orders(one: Operation, other: Operation) -> st.SearchStrategy[list[int]]:
    return orders(within_limit(one.world_size + other.world_size))


def _placed(order: list[int], one: Operation, other: Operation, shared: int) -> tuple[Operation, Operation]:
    """Both in one world, in those places, with so many ranks in both, or more where the world is too small."""
    places = len(order)
    first = order[: one.world_size]
    start = max(0, min(one.world_size - shared, places - other.world_size))
    second = order[start : start + other.world_size]
    return _with_members(one, tuple(sorted(first))), _with_members(other, tuple(sorted(second)))


def _share(operations: tuple[Operation, Operation]) -> bool:
    one, other = (set(operation.members) for operation in operations)
    return bool(one & other)


def _with_members(operation: Operation, members: tuple[int, ...]) -> Operation:
    return replace(operation, members=members, distributed=True, no_dist=False)


def _uploaded(save: Operation, members: tuple[int, ...]) -> Operation:
    return _with_members(replace(save, api="async", coordinator=0), members)


def _with(scenario: Scenario, save: Operation, load: Operation) -> Scenario:
    return replace(scenario, save=save, load=load)
