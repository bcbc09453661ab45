"""Cases that are more than one save and one load, drawn: the steps of a history, and the meshes of a training."""

from __future__ import annotations

from collections.abc import Iterator

from worlds.histories import History, Load, Save
from worlds.training import Parallelism, Training
from worlds.training.misfit import Misfit

from .svg import colour, drawing, line, rectangle, text

__all__ = ["diagrams"]

_CELL = 20.0
"""Of a rank."""

_STEP, _TOP, _LEFT = 116.0, 24.0, 10.0


def diagrams(case: object) -> Iterator[tuple[str, str]]:
    """Each drawing of the case, if there is one for its class, and what it shows."""
    if isinstance(case, History) and case.steps:
        yield (
            "The steps from left to right, and the checkpoints below each other; a line stands where a new job begins. "
            "A save is framed in blue, a load in orange; a red rank fails.",
            _history(case),
        )
    elif isinstance(case, Training):
        for name, side in (("save", case.saved), ("load", case.loaded)):
            yield f"The ranks at {name}: {_words(side.parallelism)}.", _mesh(side.parallelism, name)
    elif isinstance(case, Misfit):
        parallelism = case.side.parallelism
        yield f"The ranks: {_words(parallelism)}.", _mesh(parallelism, "load")


def _history(history: History) -> str:
    places = list(dict.fromkeys(step.at for step in history.steps))
    most = max(step.operation.world_size for step in history.steps)
    per_row = 4
    tall = 26 + -(-most // per_row) * _CELL + 18
    width, height = _LEFT + len(history.steps) * _STEP + 8, _TOP + len(places) * (tall + 10)
    parts = []
    for number, place in enumerate(places):
        parts.append(text(_LEFT, _TOP + number * (tall + 10) + 4, f"checkpoint {place!r}", fill="#666"))
    for index, step in enumerate(history.steps):
        x, y = _LEFT + index * _STEP, _TOP + places.index(step.at) * (tall + 10) + 10
        if index and history.begins_job(index):
            parts.append(line([(x - 4, 4), (x - 4, height - 4)], "#888"))
        parts.append(text(x + 2, 14, f"{index + 1}", fill="#666"))
        parts.extend(_step(step, x, y, tall - 8, per_row))
    return drawing(width, height, parts, title=f"{len(history.steps)} steps over {len(places)} checkpoints")


def _step(step: Save | Load, x: float, y: float, tall: float, per_row: int) -> Iterator[str]:
    size = step.operation.world_size
    failing = {fault.rank for fault in step.all_faults}
    said = f"{step.name} by {size} rank{'s' if size > 1 else ''}"
    frame = "#0072b2" if isinstance(step, Save) else "#b05a00"
    yield rectangle(x, y, _STEP - 10, tall, "#fff", title=said, stroke=frame)
    yield text(x + 5, y + 15, said)
    for rank in range(size):
        left, top = x + 5 + rank % per_row * _CELL, y + 22 + rank // per_row * _CELL
        yield from _rank(rank, left, top, fill="#e05a4a" if rank in failing else colour(rank))


def _rank(rank: int, x: float, y: float, *, fill: str = "") -> Iterator[str]:
    yield rectangle(x, y, _CELL, _CELL, fill or colour(rank), title=f"rank {rank}")
    yield text(x + _CELL / 2, y + 14, str(rank), anchor="middle", fill="#000")


def _words(parallelism: Parallelism) -> str:
    if parallelism.world_size == 1:
        return "one alone"
    parts = [
        f"{parallelism.stages} stages of a pipeline" if parallelism.stages > 1 else "",
        f"{parallelism.replicas} replicas" if parallelism.replicas > 1 else "",
        f"{parallelism.data} for fully_shard, below each other" if parallelism.data else "",
        f"{parallelism.tensor} for tensor parallelism, beside each other" if parallelism.tensor else "",
    ]
    return " × ".join(filter(None, parts))


def _mesh(parallelism: Parallelism, name: str) -> str:
    """A block for each replica of each stage, in which ranks that share a row are tensor parallel."""
    rows, columns = max(1, parallelism.data), max(1, parallelism.tensor)
    wide, tall = columns * _CELL + 12, rows * _CELL + 12
    parts = []
    blocks = parallelism.stages * parallelism.replicas
    for block in range(blocks):
        x = 4 + block * (wide + 8)
        stage, replica = divmod(block, parallelism.replicas)
        title = f"replica {replica}" if parallelism.stages == 1 else f"stage {stage}, replica {replica}"
        parts.append(rectangle(x, 4, wide, tall, "#fff", title=title))
        for row in range(rows):
            for column in range(columns):
                rank = (block * rows + row) * columns + column
                parts.extend(_rank(rank, x + 6 + column * _CELL, 10 + row * _CELL))
    width = blocks * (wide + 8) + 4
    return drawing(width, tall + 8, parts, title=f"{name}: a mesh of {parallelism.world_size} ranks")
