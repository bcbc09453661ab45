"""Costs of one example, taken as the median over blocks of examples, so that what disturbs the machine once is out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["BLOCK", "WARM_UP", "Cost", "alternate", "block_sizes", "median_cost"]

BLOCK = 5
"""Examples in a block: enough to hold a turn of the garbage collector now and then, few enough to have many blocks."""

WARM_UP = 3
"""Examples that are run before the first one counts."""


@dataclass(frozen=True)
class Cost:
    """Milliseconds per example: on the clock, and of processor time in all threads and processes together."""

    wall: float
    cpu: float


def block_sizes(examples: int) -> list[int]:
    """``examples`` cut into blocks."""
    whole, rest = divmod(examples, BLOCK)
    return [BLOCK] * whole + [rest] * (rest > 0)


def median_cost(blocks: Sequence[Cost]) -> Cost:
    """The median block, for the clock and for processor time each by itself."""
    return Cost(statistics.median(block.wall for block in blocks), statistics.median(block.cpu for block in blocks))


def alternate(columns: Mapping[str, Callable[[], None]], examples: int) -> dict[str, Cost]:
    """The cost of one call of each, their blocks taking turns, so that all of them meet the same machine."""
    for run in columns.values():
        for _ in range(WARM_UP):
            run()
    blocks: dict[str, list[Cost]] = {name: [] for name in columns}
    for size in block_sizes(examples):
        for name, run in columns.items():
            blocks[name].append(_time_block(run, size))
    return {name: median_cost(costs) for name, costs in blocks.items()}


def _time_block(run: Callable[[], None], size: int) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(size):
        run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Cost(1000 * wall / size, 1000 * cpu / size)
