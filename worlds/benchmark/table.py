"""The benchmark's result as text: milliseconds per example by column and world size, and the two ratios to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .columns import Column
from .cost import Cost

__all__ = ["Costs", "cost_table", "ratio_lines"]

Costs = Mapping[tuple[str, int], Cost]
"""By name of the column and world size."""

_RATIO_WORLD_SIZE = 4


def cost_table(columns: Sequence[Column], world_sizes: Sequence[int], examples: int, costs: Costs) -> list[str]:
    """A header and a line for each column, with ``wall / CPU`` for each world size."""
    titles = [_title(column, examples) for column in columns]
    rows = [[_cell(costs[column.name, size]) for size in world_sizes] for column in columns]
    header = [f"world {size}" for size in world_sizes]
    first = max(map(len, titles))
    width = max(len(cell) for row in [header, *rows] for cell in row)
    return [
        "  ".join([title.ljust(first), *(cell.rjust(width) for cell in row)])
        for title, row in zip(["ms per example: wall / CPU".ljust(first), *titles], [header, *rows], strict=True)
    ]


def ratio_lines(costs: Costs) -> list[str]:
    """The two ratios that are asked for at world size 4, as far as their columns were measured."""
    names = ("simulated", "run", "threads", "floor")
    simulated, run, threads, floor = (costs.get((name, _RATIO_WORLD_SIZE)) for name in names)
    lines = []
    if simulated and threads:
        ratio = threads.wall / simulated.wall
        lines.append(f"world {_RATIO_WORLD_SIZE}: MultiThreadedTestCase / simulated, wall: {ratio:.2f} (wanted: >= 3)")
    for name, cost in (("simulated", simulated), ("as a law runs it", run)):
        if cost and floor:
            ratio = cost.cpu / floor.cpu
            lines.append(f"world {_RATIO_WORLD_SIZE}: {name} / floor, CPU: {ratio:.2f} (wanted: <= 2.5, aim: 2)")
    return lines


def _title(column: Column, examples: int) -> str:
    run = column.examples(examples)
    return column.title if run == examples else f"{column.title} ({run} examples)"


def _cell(cost: Cost) -> str:
    return f"{_number(cost.wall)} / {_number(cost.cpu)}"


def _number(milliseconds: float) -> str:
    return f"{milliseconds:.1f}" if milliseconds < 100 else f"{milliseconds:.0f}"
