"""What requests to a server really failed in a save or a load, by name; see :mod:`strategies.features`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from worlds.outcome import Hit
from worlds.request_faults import REQUEST_ERRORS, RequestFault
from worlds.scenario import Scenario

__all__ = ["REQUEST_FEATURES", "request_features"]

_GROUPS = {"save": "request that fails, at save", "load": "request that fails, at load"}
_WHERE = "where a request fails"

REQUEST_FEATURES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_GROUPS.values(), REQUEST_ERRORS),
    _WHERE: (
        "on the coordinator",
        "on another rank",
        "on several ranks",
        "at a later request",
        "once",
        "each from there on",
        "in async_save",
        "made again, or done without",
        "given up",
    ),
}
"""Every feature of them, by group."""


def request_features(
    scenario: Scenario, operation: Literal["save", "load"], hits: Sequence[Hit]
) -> frozenset[tuple[str, str]]:
    """What the requests that failed in a save or a load have, each with its group."""
    struck = {scenario.request_faults[hit.index] for hit in hits}
    given_up = {scenario.request_faults[hit.index].rank for hit in hits if hit.raised}
    found = {(_GROUPS[operation], fault.error) for fault in struck}
    if len({fault.rank for fault in struck}) > 1:
        found.add((_WHERE, "on several ranks"))
    for fault in struck:
        found.update((_WHERE, name) for name in _where(scenario, fault))
        found.add((_WHERE, "given up" if fault.rank in given_up else "made again, or done without"))
    return frozenset(found)


def _where(scenario: Scenario, fault: RequestFault) -> Iterator[str]:
    operation = scenario.operation(fault.operation)
    yield "on the coordinator" if fault.rank == operation.coordinator else "on another rank"
    yield "each from there on" if fault.lasting else "once"
    if fault.skip:
        yield "at a later request"
    if fault.operation == "save" and scenario.save.uploads:
        yield "in async_save"
