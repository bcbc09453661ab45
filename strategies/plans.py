"""Strategies for planning: tilings, requested boxes, plans of all ranks, broken tilings and layouts, in no world.

They draw often and cheaply. Hypothesis's cost is for each choice, so what belongs together, as a cut's five numbers do,
is drawn as one string of bytes, each of which still shrinks by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.plans import (
    Box,
    ChunkedShape,
    Comparison,
    Conflict,
    Held,
    Item,
    Load,
    LoadEntry,
    Merge,
    Plans,
    Reads,
    Split,
    Tiled,
    Validation,
    whole,
)

from ._bounds import check_bounds
from ._reused import sampled_from
from .tensors import bounded_shape

__all__ = [
    "broken_tilings",
    "chunked_shapes",
    "comparisons",
    "conflicts",
    "loads",
    "merges",
    "plans",
    "reads",
    "splits",
    "tilings",
    "validations",
]

LARGE_WORLD = 1024
_DTYPES = ("float32", "float64", "int8", "bool")

_MAX_ELEMENTS = 64
_extents = st.sampled_from((1, 2, 3, 4, 5, 6, 7, 8, 0))
_some_extents = st.lists(_extents, min_size=1, max_size=4)
# A 0-d tensor is a corner, and would else be two in five.
_shapes = (st.lists(_extents, max_size=4) | _some_extents | _some_extents).map(
    lambda extents: bounded_shape(extents, _MAX_ELEMENTS)
)


def _bytes(size: int) -> SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


_cuts = st.lists(_bytes(5), max_size=6)
_rarely = st.integers(0, 24).map(lambda drawn: drawn == 24)
_now_and_then = st.integers(0, 11).map(lambda drawn: drawn == 11)


def _cut(shape: Sequence[int], cuts: Sequence[bytes]) -> tuple[Box, ...]:
    """The whole box, cut again and again: which box, along which dim, where, and where its second part goes."""
    boxes = [whole(shape)]
    for which, dim, at, shift, pinwheel in cuts if shape else ():
        index = which % len(boxes)
        parts = _parts(boxes.pop(index), dim, at, pinwheel % 4 == 3)
        boxes.insert(index, parts[0])
        for part in parts[1:]:
            boxes.insert((index + 1 + shift % 4) % (len(boxes) + 1), part)
    return tuple(boxes)


def _parts(box: Box, dim: int, at: int, pinwheel: bool) -> list[Box]:
    """Two parts of a box, one of which may be empty; or five that no single cut separates."""
    dim %= len(box.sizes)
    across = (dim + 1) % len(box.sizes)
    if pinwheel and across != dim and min(box.sizes[dim], box.sizes[across]) >= 3:
        n, m = box.sizes[dim], box.sizes[across]
        corners = ((0, 0, 1, m - 1), (0, m - 1, n - 1, 1), (n - 1, 1, 1, m - 1), (1, 0, n - 1, 1), (1, 1, n - 2, m - 2))
        return [_within(_within(box, dim, x, dx), across, y, dy) for x, y, dx, dy in corners]
    at = (at + 1) % (box.sizes[dim] + 1)  # the simplest is a cut through the box, if anything can be one
    return [_within(box, dim, 0, at), _within(box, dim, at, box.sizes[dim] - at)]


def _within(box: Box, dim: int, start: int, size: int) -> Box:
    offsets, sizes = list(box.offsets), list(box.sizes)
    offsets[dim], sizes[dim] = offsets[dim] + start, size
    return Box(tuple(offsets), tuple(sizes))


def _large_grid(numbers: bytes) -> Tiled:
    """Up to 2,048 rows over up to 1,024 ranks, as ``torch.chunk`` cuts them, the empty ones at the end; or columns."""
    extent = (numbers[0] * 256 + numbers[1]) % (2 * LARGE_WORLD + 1)
    chunks = (numbers[2] * 256 + numbers[3]) % LARGE_WORLD + 1
    swapped = numbers[4] % 2 == 1
    rows = -(-extent // chunks)
    starts = [min(rank * rows, extent) for rank in range(chunks + 1)]
    boxes = [Box((start, 0), (end - start, 1)) for start, end in itertools.pairwise(starts)]
    if swapped:
        return Tiled((1, extent), tuple(Box(box.offsets[::-1], box.sizes[::-1]) for box in boxes))
    return Tiled((extent, 1), tuple(boxes))


@st.composite
def tilings(draw: DrawFn, *, shapes: SearchStrategy[tuple[int, ...]] | None = None) -> Tiled:
    """Shapes of 0 to 4 dims, cut exactly into up to 25 boxes in any order; now and then into 1,024.

    Boxes are cut in two, empty parts too, or into a pinwheel of five, which is no grid. Shrinks towards one box of a
    0-d tensor.
    """
    shape = draw(_shapes if shapes is None else shapes, label="shape")
    cuts = draw(_cuts, label="cuts")
    # Drawn for every size, so that what follows does not shift when the size changes.
    grid, large = draw(_bytes(5), label="large grid"), draw(_rarely, label="large")
    if shapes is None and large:
        return _large_grid(grid)
    return Tiled(shape, _cut(shape, cuts))


_corners = _bytes(8)


def _box_between(shape: Sequence[int], corners: bytes) -> Box:
    """A box inside the shape, from one of two corners to the other; the whole of it for zeros."""
    ends = zip(corners[::2], corners[1::2], shape, strict=False)
    spans = [sorted((a % (extent + 1), extent - b % (extent + 1))) for a, b, extent in ends]
    return Box(tuple(low for low, _ in spans), tuple(high - low for low, high in spans))


@st.composite
def reads(draw: DrawFn) -> Reads:
    """Tensors as they were saved and up to four boxes wanted of them: overlapping, empty, or another tiling.

    Shrinks towards the whole of a 0-d tensor.
    """
    saved = draw(tilings(), label="saved")
    other_cuts = draw(_cuts, label="cuts at load")
    corners = draw(st.lists(_corners, max_size=4), label="corners")
    if draw(st.booleans(), label="boxes anywhere"):
        return Reads(saved, tuple(_box_between(saved.shape, corner) for corner in corners))
    return Reads(saved, _cut(saved.shape, other_cuts))


@st.composite
def _load_entries(draw: DrawFn) -> LoadEntry:
    tiled = draw(tilings(), label="saved")
    corners = draw(st.lists(_corners, max_size=2), label="corners")
    target = draw(sampled_from(("tensor", "boxes", "boxes", "object", "resized")), label="target")
    saved = draw(sampled_from((True, True, True, False)), label="a tensor")
    missing = draw(_rarely, label="missing")
    wanted = tuple(_box_between(tiled.shape, corner) for corner in corners) if target == "boxes" else ()
    return LoadEntry(tiled if saved else None, wanted, target, missing)  # type: ignore[arg-type]


def loads() -> SearchStrategy[Load]:
    """State dicts to load: sharded and plain tensors, objects, and what does not fit; shrinks towards none."""
    return st.builds(Load, st.lists(_load_entries(), max_size=3).map(tuple), st.sampled_from((True, False)))


_MUTATIONS = ("drop", "repeat", "move", "move", "resize", "negative", "dims")
_BY = (1, -1, 2, -2, 3, -3)
_mutations = st.lists(_bytes(4), max_size=2) | st.lists(_bytes(4), min_size=1, max_size=2)


def _mutated(tiled: Tiled, mutations: Sequence[bytes]) -> Tiled:
    boxes = list(tiled.boxes)
    for number, which, dim, by in mutations:
        if not boxes:
            break
        kind = _MUTATIONS[number % len(_MUTATIONS)]
        index = which % len(boxes)
        box = boxes[index]
        if kind == "drop":
            del boxes[index]
        elif kind == "repeat":
            boxes.append(box)
        elif kind == "dims":
            boxes[index] = Box((*box.offsets, 0), (*box.sizes, 1))
        elif tiled.shape:
            boxes[index] = _changed(box, kind, dim % len(tiled.shape), _BY[by % len(_BY)])
    return Tiled(tiled.shape, tuple(boxes))


def _changed(box: Box, kind: str, dim: int, by: int) -> Box:
    offsets, sizes = list(box.offsets), list(box.sizes)
    if kind == "move":
        offsets[dim] += by
    elif kind == "resize":
        sizes[dim] += by
    else:  # a negative size, from the other end
        offsets[dim], sizes[dim] = offsets[dim] + sizes[dim], -sizes[dim]
    return Box(tuple(offsets), tuple(sizes))


@st.composite
def broken_tilings(draw: DrawFn) -> Tiled:
    """Tilings with up to two boxes left out, repeated, moved, resized, turned round or given a dim too many.

    What comes of it may be a tiling all the same, or lack as much in one place as it has too much in another. Shrinks
    towards a whole tiling.
    """
    tiled = draw(tilings(), label="tiling")
    return _mutated(tiled, draw(_mutations, label="mutations"))


def validations() -> SearchStrategy[Validation]:
    """Metadata of up to three tensors, tiled and not, for one to four plans; shrinks towards two plans and nothing."""
    # All three are drawn, and then chosen from: what is in a list, and is large, Hypothesis cannot leave out of it.
    drawn = st.tuples(*[st.tuples(st.booleans(), broken_tilings())] * 3)
    tensors = drawn.map(lambda pairs: tuple(tiled for there, tiled in pairs if there))
    return st.builds(Validation, tensors, st.sampled_from((2, 1, 3, 4)))


_some_ranks = st.binary(max_size=4)


_kinds = st.sampled_from([(kind, dtype) for dtype in _DTYPES for kind in ("object", "tensor", "shards", "shards")])


@st.composite
def _groups(draw: DrawFn) -> list[Item]:
    """The items of one name: an object, a plain tensor, or the shards of one."""
    kind, dtype = draw(_kinds, label="kind and dtype")
    tiled = draw(tilings(), label="tiling")
    if kind == "object":
        return [Item()]
    if kind == "tensor":
        return [Item("a", whole(tiled.shape), tiled.shape, dtype, shard=False)]
    return [Item("a", box, tiled.shape, dtype) for box in tiled.boxes]


_flags = st.sampled_from([(lowest, rotated) for lowest in (False, True) for rotated in (False, True)])


def _rank(number: int, world_size: int) -> int:
    """A rank of the world, for a number below 256."""
    return number % world_size if world_size <= 256 else number * world_size // 256


@st.composite
def plans(draw: DrawFn) -> Plans:
    """The local plans of 1 to 8 ranks, now and then of 1,024, with objects, plain tensors and shards.

    Each item is on any ranks: on every one, on one, or on some. Shrinks towards one rank with no items.
    """
    size = draw(st.integers(1, 8), label="world size")
    groups = draw(st.lists(_groups(), max_size=3), label="items")
    held_by = draw(st.lists(_some_ranks, min_size=1, max_size=6), label="ranks")
    lowest, rotated = draw(_flags, label="lowest, rotated")
    large_size = draw(st.integers(9, LARGE_WORLD), label="large world size")
    if draw(_now_and_then, label="large"):
        size = large_size
    items = [replace(item, fqn="abc"[index]) for index, group in enumerate(groups) for item in group]
    held = [
        Held(item, tuple(sorted({_rank(number, size) for number in held_by[index % len(held_by)]})))
        for index, item in enumerate(items)
    ]
    return Plans(size, tuple(held), lowest, rotated)


def conflicts() -> SearchStrategy[Conflict]:
    """Two ranks that do not agree on what stands under one name: its kind, dtype or shape.

    Shrinks towards an object on one rank and a 0-d tensor on the other.
    """
    kinds = st.sampled_from(("object", "tensor", "shard", "half"))
    dtypes = st.sampled_from(_DTYPES)
    one, other = (st.builds(_item, kinds, _small_shapes, dtypes, st.just(rank)) for rank in (0, 1))
    return st.builds(Conflict, one, other).filter(lambda pair: _content(pair.one) != _content(pair.other))


_small_shapes = st.lists(st.integers(0, 3), max_size=2).map(tuple)


def _item(kind: str, shape: tuple[int, ...], dtype: str, rank: int) -> Item:
    """An object, a plain tensor, a sharded one that is whole on this rank, or one cut into a row for each rank."""
    if kind == "object":
        return Item()
    if kind == "half":
        rows = (2, *shape)
        return Item("a", _within(whole(rows), 0, rank, 1), rows, dtype)
    return Item("a", whole(shape), shape, dtype, kind == "shard")


def _content(item: Item) -> object:
    """What is said of the whole tensor: the same, whether it is a plain tensor or sharded."""
    return item.box is None, item.shape, item.dtype


def splits() -> SearchStrategy[Split]:
    """A rank's items and one to six files; shrinks towards one file and no items."""
    return st.builds(_split, st.integers(1, 6), st.lists(_groups(), max_size=5))


def _split(bins: int, groups: Sequence[Sequence[Item]]) -> Split:
    items = [replace(item, fqn=f"{index}") for index, group in enumerate(groups) for item in group]
    return Split(bins, tuple(items))


_CHANGES = ("nothing", "fqn", "dtype", "shape", "box", "kind", "drop", "paths", "order")


@st.composite
def comparisons(draw: DrawFn) -> Comparison:
    """A rank's plan in one save and in the next, in which at most one thing differs; shrinks towards two empty ones."""
    groups = draw(st.lists(_groups(), max_size=2), label="items")
    change = draw(sampled_from(_CHANGES), label="change")
    which = draw(st.integers(0, 7), label="which")
    items = [replace(item, fqn="ab"[index]) for index, group in enumerate(groups) for item in group]
    one = tuple(items)
    paths = tuple((item.fqn,) for item in one)
    if not items:
        return Comparison()
    index = which % len(items)
    item = items[index]
    if change == "drop":
        del items[index]
    elif change == "order":
        items.append(items.pop(index))
    elif change in ("fqn", "dtype", "shape", "box", "kind"):
        items[index] = _with_another(change, item)
    other_paths: list[tuple[str, ...]] = [(item.fqn,) for item in items]
    if change == "paths":
        other_paths[index] = (*other_paths[index], "")
    return Comparison(one, tuple(items), paths, tuple(other_paths))


def _with_another(what: str, item: Item) -> Item:
    if what == "fqn":
        return replace(item, fqn=item.fqn + "c")
    if item.box is None:
        return item
    if what == "dtype":
        return replace(item, dtype="float64" if item.dtype != "float64" else "float32")
    if what == "kind":
        return replace(item, shard=not item.shard)
    if not item.shape:
        return item
    if what == "shape":
        return replace(item, shape=(*item.shape[:-1], item.shape[-1] + 1))
    return replace(item, box=Box(item.box.offsets, (*item.box.sizes[:-1], item.box.sizes[-1] + 1)))


def merges() -> SearchStrategy[Merge]:
    """Cached plans of some ranks and new ones of as many or of others; shrinks towards one rank and no change."""
    few = st.builds(Merge, st.integers(1, 6), st.lists(st.booleans(), min_size=1, max_size=6).map(tuple))
    return few | few.map(lambda drawn: replace(drawn, cached=len(drawn.changed)))


def chunked_shapes(*, max_chunks: int = LARGE_WORLD) -> SearchStrategy[ChunkedShape]:
    """Shapes, a dim of them, negative ones too, and into how many chunks it is cut, up to ``max_chunks``.

    Shrinks towards one row in one chunk. Fewer rows than chunks, and sizes at which equal chunks overshoot.
    """
    check_bounds("chunks", 1, max_chunks, at_least=1)
    few = st.integers(1, min(12, max_chunks))
    extents = st.lists(st.integers(0, 12) | st.integers(0, 3 * max_chunks), min_size=1, max_size=3)
    return st.builds(
        lambda extents, dim, negative, chunks: ChunkedShape(
            tuple(extents), dim % len(extents) - (len(extents) if negative else 0), chunks
        ),
        extents,
        st.integers(0, 2),
        st.booleans(),
        few | st.integers(1, max_chunks),
    )
