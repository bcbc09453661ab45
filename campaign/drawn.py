"""What a campaign draws beyond what laws count: world sizes, dtypes, exceptions, and what a case is built on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from strategies.features import features
from worlds import Scenario
from worlds.dtypes import DTYPES
from worlds.entries import TensorEntry
from worlds.errors import ERRORS
from worlds.histories import History
from worlds.sequences import SaveSequence
from worlds.side_by_side import SideBySide

__all__ = ["DRAWN", "drawn", "features_within"]

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


def features_within(case: object) -> frozenset[tuple[str, str]]:
    """The features of the scenarios that a case is built on; none of a scenario itself, whose law counts them.

    A law of such cases counts what it has judged, which is not all that a scenario has; but whether a history or a
    conversion is of another kind than those before it depends on that as well.
    """
    return frozenset(feature for scenario in _within(case) for feature in features(scenario))


def _within(case: object) -> Iterator[Scenario]:
    if isinstance(case, History):
        yield from map(case.scenario, range(len(case.steps)))
    elif isinstance(case, SideBySide):
        yield from case.both
    elif isinstance(case, SaveSequence):
        yield from case.steps
    elif isinstance(scenario := getattr(case, "scenario", None), Scenario):
        yield scenario
