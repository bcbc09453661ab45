"""What an example costs: milliseconds per save and load of one scenario, in the simulated world and elsewhere."""

from __future__ import annotations

import argparse
import math
import os
import platform
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import torch

from ..concise import pretty
from .columns import COLUMNS, Column, measure
from .cost import Cost, median_cost
from .example import Failed, benchmark_scenario
from .table import cost_table, ratio_lines

__all__ = ["main"]

_ROUNDS = 3


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage above it."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = ", ".join(column.name for column in COLUMNS)
    parser = _Parser(prog="python -m worlds.benchmark", description=__doc__)
    parser.add_argument(
        "--world-sizes",
        type=_world_sizes,
        default=[1, 2, 4, 8, 16],
        metavar="N,N,…",
        help="ranks at save and at load (default: 1,2,4,8,16)",
    )
    parser.add_argument(
        "--examples",
        type=_positive,
        default=100,
        metavar="N",
        help="examples for each column and world size (default: 100; where each takes seconds, 3 at most)",
    )
    parser.add_argument(
        "--only", type=_columns, default=list(COLUMNS), metavar="NAME,…", help=f"measure only these columns: {names}"
    )
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _world_sizes(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


def _columns(text: str) -> list[Column]:
    by_name = {column.name: column for column in COLUMNS}
    wanted = [part.strip() for part in text.split(",")]
    for name in wanted:
        if name not in by_name:
            raise argparse.ArgumentTypeError(f"there is no column {name!r}, only {', '.join(by_name)}")
    return [column for column in COLUMNS if column.name in wanted]


def _measure_all(columns: Sequence[Column], world_sizes: Sequence[int], examples: int) -> dict[tuple[str, int], Cost]:
    for column in columns:
        column.require()
    modules = list(dict.fromkeys(column.module for column in columns))
    found: dict[tuple[str, int], list[Cost]] = {}
    rounds = min(_ROUNDS, examples)
    for world_size in world_sizes:
        for _ in range(rounds):  # in turns, so that all of them meet the same machine
            for module in modules:
                together = [column for column in columns if column.module == module]
                wanted = together[0].examples(examples)
                share = math.ceil(wanted / rounds)
                print(f"measuring {', '.join(c.name for c in together)} at world size {world_size}", file=sys.stderr)
                for name, cost in measure(module, together, world_size, share).items():
                    found.setdefault((name, world_size), []).append(cost)
    return {key: median_cost(costs) for key, costs in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what ``argv`` asks for and print the table; the exit status."""
    options = _arguments(argv)
    # As at Ctrl-C, what was started is ended first.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        costs = _measure_all(options.only, options.world_sizes, options.examples)
    except Failed as failure:
        print(f"python -m worlds.benchmark: error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} processors")
    print(f"{options.examples} examples after warming up, in {min(_ROUNDS, options.examples)} rounds; medians")
    shown = options.world_sizes[-1]
    print(f"the example, here for world size {shown}:\n{pretty(benchmark_scenario(shown))}\n")
    print("\n".join(cost_table(options.only, options.world_sizes, options.examples, costs)))
    print("\n".join(["", *ratio_lines(costs)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
