"""The command line of a measurement: each is a process of its own, and prints its costs as one line of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from .cost import Cost

__all__ = ["Measurement", "report"]

Measurement = Callable[[int, int, Sequence[str]], Mapping[str, Cost]]
"""(world size, examples, columns) to the cost of each column."""


def report(measure: Measurement) -> None:
    """Measure what ``sys.argv`` asks for, and print it: world size, examples, and the columns behind them."""
    world_size, examples, *columns = sys.argv[1:]
    costs = measure(int(world_size), int(examples), columns)
    print(json.dumps({name: asdict(cost) for name, cost in costs.items()}))
