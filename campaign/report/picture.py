"""A tensor drawn: which chunks of it are on which ranks, at save and at load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from worlds.entries import TensorEntry
from worlds.layouts import Layout
from worlds.parts import Box
from worlds.scenario import Scenario

from .svg import colour, drawing, rectangle, text

Side = Literal["save", "load"]

__all__ = ["TensorPicture", "tensor_pictures"]

_SIDES: tuple[Side, ...] = ("save", "load")
_LONGEST, _TALLEST, _LEAST, _MOST = 240.0, 140.0, 16.0, 40.0
"""Of a tensor, and of an element."""


@dataclass(frozen=True)
class TensorPicture:
    """A tensor of the state dict: what it is, in words, and how it is cut on each side, drawn."""

    name: str
    words: str
    save: str
    load: str


def tensor_pictures(scenario: Scenario) -> Iterator[TensorPicture]:
    """Each tensor that is saved or loaded, by its name."""
    sides: dict[str, dict[Side, TensorEntry]] = {}
    for side in _SIDES:
        for leaf in scenario.leaves(side):
            if isinstance(leaf.entry, TensorEntry):
                sides.setdefault(leaf.fqn, {})[side] = leaf.entry
    for name, entries in sides.items():
        words = " and ".join(dict.fromkeys(f"{entry.dtype}{list(entry.shape)}" for entry in entries.values()))
        yield TensorPicture(name, words, _side(scenario, "save", entries), _side(scenario, "load", entries))


def _side(scenario: Scenario, side: Side, entries: dict[Side, TensorEntry]) -> str:
    entry = entries.get(side)
    layout = None if entry is None else entry.layout(side)
    if entry is None or layout is None:
        return "<p>not there</p>"
    return _drawn(entry, layout, scenario.operation(side).world_size, f"{side}: {layout.kind}")


def _drawn(entry: TensorEntry, layout: Layout, ranks: int, title: str) -> str:
    """The tensor as a rectangle of the two dims in which it is cut, its chunks in the colours of their ranks."""
    boxes = _boxes(entry, layout, ranks)
    dims = _dims(entry.shape, list(boxes))
    extents = [max([1, *(box.offsets[dim] + box.sizes[dim] for box in boxes), entry.shape[dim]]) for dim in dims]
    high, wide = (extents[0], extents[1]) if len(dims) == 2 else (1, extents[0] if dims else 1)
    step = min(_LONGEST / wide, _TALLEST / high, _MOST)
    width, height = max(_LEAST, wide * step), max(_LEAST, high * step)
    step_x, step_y = width / wide, height / high
    parts = [rectangle(4, 4, width, height, "#fff")]
    notes = []
    for box, holders in boxes.items():
        where = f"{list(box.offsets)}, sizes {list(box.sizes)}"
        said = f"rank{'s' if len(holders) > 1 else ''} {', '.join(map(str, holders))}"
        if not box:
            notes.append(f"{said}: an empty chunk at {list(box.offsets)}")
            continue
        (y, tall), (x, long) = _placed(box, dims)
        place = 4 + x * step_x, 4 + y * step_y
        size = long * step_x, tall * step_y
        parts.append(rectangle(*place, *size, colour(holders[0]), title=f"{said}: from {where}"))
        label = ",".join(map(str, holders))
        if size[0] >= 7 * len(label) and size[1] >= _LEAST - 1:
            parts.append(text(place[0] + size[0] / 2, place[1] + size[1] / 2 + 4, label, anchor="middle", fill="#000"))
        else:
            notes.append(f"{said}: from {where}")
    without = [rank for rank in range(ranks) if not layout.parts(entry.shape, rank)]
    if without:
        notes.append(f"nothing on rank{'s' if len(without) > 1 else ''} {', '.join(map(str, without))}")
    if len(entry.shape) > 2:
        notes.append(f"drawn along dims {' and '.join(map(str, dims))}")
    caption = "".join(f"<li>{note}</li>" for note in notes)
    return drawing(width + 8, height + 8, parts, title=title) + f"<p>{layout.kind}</p><ul>{caption}</ul>"


def _boxes(entry: TensorEntry, layout: Layout, ranks: int) -> dict[Box, list[int]]:
    """Each chunk, with the ranks that hold it."""
    found: dict[Box, list[int]] = {}
    for rank in range(ranks):
        for part in layout.parts(entry.shape, rank):
            for box, _ in part.boxes():
                held = found.setdefault(box, [])
                if rank not in held:
                    held.append(rank)
    return found


def _dims(shape: tuple[int, ...], boxes: list[Box]) -> list[int]:
    """The two dims to draw: those in which chunks do not go from end to end come first."""
    cut = [dim for dim in range(len(shape)) if any(box.sizes[dim] != shape[dim] for box in boxes)]
    return sorted([*cut, *(dim for dim in range(len(shape)) if dim not in cut)][:2])


def _placed(box: Box, dims: list[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Offset and size down and to the right."""
    along = [(box.offsets[dim], box.sizes[dim]) for dim in dims]
    return (along[0], along[1]) if len(along) == 2 else ((0, 1), along[0] if along else (0, 1))
