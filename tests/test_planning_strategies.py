"""What the strategies for planning draw: their smallest values, and the corners that matter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import find, settings
from hypothesis.errors import InvalidArgument
from hypothesis.strategies import SearchStrategy

from properties.planning.model import index_of, tiling_defect
from properties.planning.nested_model import leaves, mappings, text_of
from strategies.mesh_layouts import fully_sharded_layouts, mesh_layouts
from strategies.nested import nested_states
from strategies.plans import (
    broken_tilings,
    chunked_shapes,
    comparisons,
    conflicts,
    loads,
    merges,
    plans,
    reads,
    splits,
    tilings,
    validations,
)
from tests.test_strategies import QUIET, count, sample
from worlds.plans import (
    Box,
    ChunkedShape,
    Comparison,
    Conflict,
    Cut,
    Item,
    Load,
    Merge,
    MeshLayout,
    NestedState,
    Plans,
    Reads,
    Split,
    Tiled,
    Validation,
    whole,
)


@pytest.mark.parametrize(
    ("strategy", "smallest"),
    [
        (tilings(), Tiled()),
        (broken_tilings(), Tiled()),
        (reads(), Reads()),
        (loads(), Load()),
        (plans(), Plans()),
        (splits(), Split()),
        (validations(), Validation()),
        (conflicts(), Conflict(Item(), Item("a", whole(()), shard=False))),
        (comparisons(), Comparison()),
        (merges(), Merge()),
        (chunked_shapes(), ChunkedShape((0,))),
        (nested_states(), NestedState({}, ("c",))),
        (mesh_layouts(), MeshLayout()),
        (fully_sharded_layouts(), MeshLayout((0,), (1, 1), (Cut(0, 1), Cut(0)))),
    ],
)
def test_shrinks_to_smallest(strategy: SearchStrategy[Any], smallest: Any) -> None:
    assert find(strategy, lambda _: True, settings=QUIET) == smallest


@pytest.mark.parametrize(
    ("strategy", "condition", "smallest"),
    [
        (tilings(), lambda tiled: len(tiled.boxes) > 1, Tiled((1,), (Box((0,), (1,)), Box((1,), (0,))))),
        (reads(), lambda case: not case.wanted, Reads(wanted=())),
        (plans(), lambda case: case.world_size == 2 and case.held, None),
        (mesh_layouts(), lambda case: any(cut and cut.split > 1 for cut in case.placements), None),
        (nested_states(), lambda case: any(isinstance(value, list) for value in case.state.values()), None),
    ],
)
def test_shrinks_to_what_shows_it(
    strategy: SearchStrategy[Any], condition: Callable[[Any], bool], smallest: Any
) -> None:
    found = find(strategy, condition, settings=settings(QUIET, max_examples=5000))
    match found:
        case Plans():
            assert len(found.held) == 1
        case MeshLayout():
            assert found == MeshLayout((0,), (1,), (Cut(0, 2),))
        case NestedState(state):
            assert state == {"a": []}
        case _:
            assert found == smallest


def _of_tiling(tiled: Tiled) -> set[str]:
    found = {f"{len(tiled.shape)} dims"}
    found |= {"empty tensor"} if not math.prod(tiled.shape) else set()
    found |= {"one element"} if math.prod(tiled.shape) == 1 else set()
    found |= {"several boxes"} if len(tiled.boxes) > 1 else set()
    found |= {"more than 100 boxes"} if len(tiled.boxes) > 100 else set()
    found |= {"empty box"} if math.prod(tiled.shape) and not all(box.numel for box in tiled.boxes) else set()
    found |= {"in another order"} if list(tiled.boxes) != sorted(tiled.boxes, key=lambda box: box.offsets) else set()
    return found


def _of_reads(case: Reads) -> set[str]:
    found = _of_tiling(case.saved)
    found |= {"nothing wanted"} if not case.wanted else set()
    found |= {"an empty box wanted"} if not all(box.numel for box in case.wanted) else set()
    tiling = tiling_defect(Tiled(case.saved.shape, case.wanted))
    return found | {"another tiling" if tiling is None else "overlap" if "two" in tiling else "a part"}


def _of_broken(case: Tiled) -> set[str]:
    defect = tiling_defect(case)
    words = {"outside": "outside", "two": "overlap", "no chunk": "gap"}
    found = {"tiling"} if defect is None else {name for word, name in words.items() if word in defect}
    if defect is not None and sum(box.numel for box in case.boxes) == whole(case.shape).numel:
        found.add("right volume, and no tiling")
    found |= {"negative size"} if any(size < 0 for box in case.boxes for size in box.sizes) else set()
    found |= {"more dims"} if any(len(box.sizes) != len(case.shape) for box in case.boxes) else set()
    return found


def _of_plans(case: Plans) -> set[str]:
    found = {"more than 256 ranks"} if case.world_size > 256 else {"one rank"} if case.world_size == 1 else set()
    found |= {"lowest"} if case.lowest else set()
    found |= {"rotated"} if case.rotated else set()
    for held in case.held:
        holders = len(case.holders(held))
        found.add("on all" if holders == case.world_size else "on one" if holders == 1 else "on some")
        found.add("object" if held.item.box is None else "shard" if held.item.shard else "tensor")
    return found


def _of_layout(case: MeshLayout) -> set[str]:
    cuts = [cut for cut in case.placements if cut is not None]
    found = {f"mesh of {len(case.mesh)} dims"}
    found |= {"more than 256 ranks"} if whole(case.mesh).numel > 256 else set()
    found |= {"strided"} if any(cut.split > 1 for cut in cuts) else set()
    found |= {"a dim cut twice"} if len({cut.dim for cut in cuts}) < len(cuts) else set()
    found |= {"replicated"} if None in case.placements else set()
    if cuts and whole(case.shape).numel:
        held = [index_of(case, rank) for rank in case.ranks]
        found |= {"empty shard"} if not all(len(axis) for index in held for axis in index) else set()
        uneven = (case.shape[cut.dim] % size for cut, size in zip(case.placements, case.mesh, strict=True) if cut)
        found |= {"uneven"} if any(uneven) else set()
    return found


def _of_nested(case: NestedState) -> set[str]:
    keys = [key for mapping in mappings(case.state) for key in mapping]
    names = [text_of(path) for path, _ in leaves(case.state)]
    found = {"int key"} if any(isinstance(key, int) for key in keys) else set()
    found |= {"dotted key"} if any("." in str(key) for key in keys) else set()
    found |= {"empty key"} if "" in keys else set()
    found |= {"empty dict within"} if any(not inner for inner in mappings(list(case.state.values()))) else set()
    found |= {"names that meet"} if len(set(names)) < len(names) else set()
    values = list(case.state.values())
    found |= {"list"} if any(isinstance(value, list) for value in values) else set()
    found |= {"tuple"} if any(isinstance(value, tuple) for value in values) else set()
    found |= {"path of two steps"} if len(case.path) > 1 else set()
    return found


def _of_chunked(case: ChunkedShape) -> set[str]:
    extent = case.shape[case.dim]
    found = {"negative dim"} if case.dim < 0 else set()
    found |= {"fewer rows than chunks"} if 0 < extent < case.chunks else set()
    found |= {"overshoots"} if -(-extent // case.chunks) * (case.chunks - 1) > extent else set()
    return found | ({"more than 100 chunks"} if case.chunks > 100 else set())


CORNERS: dict[str, tuple[SearchStrategy[Any], Callable[[Any], set[str]], dict[str, int]]] = {
    "reads": (
        reads(),
        _of_reads,
        {
            **{f"{dims} dims": 15 for dims in range(5)},
            "empty tensor": 15,
            "one element": 15,
            "several boxes": 100,
            "more than 100 boxes": 2,
            "empty box": 50,
            "in another order": 60,
            "nothing wanted": 10,
            "an empty box wanted": 40,
            "another tiling": 60,
            "overlap": 30,
            "a part": 15,
        },
    ),
    "broken tilings": (
        broken_tilings(),
        _of_broken,
        {
            "tiling": 60,
            "outside": 50,
            "overlap": 6,
            "gap": 20,
            "right volume, and no tiling": 10,
            "negative size": 10,
            "more dims": 15,
        },
    ),
    "plans": (
        plans(),
        _of_plans,
        {
            "more than 256 ranks": 2,
            "one rank": 20,
            "lowest": 100,
            "rotated": 100,
            "on all": 80,
            "on one": 80,
            "on some": 80,
            "object": 60,
            "shard": 100,
            "tensor": 60,
        },
    ),
    "mesh layouts": (
        mesh_layouts(),
        _of_layout,
        {
            **{f"mesh of {dims} dims": 40 for dims in (1, 2, 3)},
            "more than 256 ranks": 8,
            "strided": 100,
            "a dim cut twice": 50,
            "replicated": 100,
            "empty shard": 40,
            "uneven": 100,
        },
    ),
    "nested states": (
        nested_states(),
        _of_nested,
        {
            "int key": 80,
            "dotted key": 80,
            "empty key": 30,
            "empty dict within": 30,
            "names that meet": 1,
            "list": 40,
            "tuple": 40,
            "path of two steps": 60,
        },
    ),
    "chunked shapes": (
        chunked_shapes(),
        _of_chunked,
        {"negative dim": 100, "fewer rows than chunks": 40, "overshoots": 40, "more than 100 chunks": 40},
    ),
}


@pytest.mark.parametrize("name", CORNERS)
def test_corners_are_reached(name: str) -> None:
    """A floor under how often 600 examples meet each corner, at about half of what was seen."""
    strategy, corners, expected = CORNERS[name]
    counts = count(sample(strategy), corners)
    assert {corner: counts[corner] for corner, least in expected.items() if counts[corner] < least} == {}


def test_bad_argument_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="max_chunks=0 is less than min_chunks=1"):
        chunked_shapes(max_chunks=0)
