"""What a campaign draws beyond the features that laws count: world sizes, dtypes, and the exceptions of faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from worlds import Scenario
from worlds.dtypes import DTYPES
from worlds.entries import TensorEntry
from worlds.errors import ERRORS

__all__ = ["DRAWN", "drawn"]

_OPERATIONS: tuple[Literal["save", "load"], ...] = ("save", "load")
_SIZES = (*map(str, range(1, 8)), "8 or more")

DRAWN: dict[str, tuple[str, ...]] = {
    "ranks at save": _SIZES,
    "ranks at load": _SIZES,
    "dtype": tuple(DTYPES),
    "exception of a fault": tuple(ERRORS),
}
"""Everything that can be drawn of these, by group."""


def drawn(case: object) -> Iterator[tuple[str, str]]:
    """What of that a case has: a scenario, or what is built on one; nothing of any other."""
    scenario = case if isinstance(case, Scenario) else getattr(case, "scenario", None)
    if not isinstance(scenario, Scenario):
        return
    for operation in _OPERATIONS:
        size = scenario.operation(operation).world_size
        yield f"ranks at {operation}", str(size) if size < 8 else _SIZES[-1]
    leaves = [leaf.entry for operation in _OPERATIONS for leaf in scenario.leaves(operation)]
    for dtype in {entry.dtype for entry in leaves if isinstance(entry, TensorEntry)}:
        yield "dtype", dtype
    for error in {fault.error for fault in scenario.faults}:
        yield "exception of a fault", error
