"""Strategies for requests that fail, of a storage that is on a server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.fitting import fitted
from worlds.request_faults import REQUEST_ERRORS, RequestFault
from worlds.scenario import Scenario
from worlds.storages import SERVED

from ._bounds import MOST_RANKS, within_storages
from ._reused import sampled_from
from ._telling import tell
from .features import features
from .whole import scenarios

__all__ = ["failing_request_scenarios"]

Name = Literal["save", "load"]
_NAMES: tuple[Name, ...] = ("save", "save", "load")
_LAST_REQUEST = 11  # as many as S3 takes to save a file with data and the metadata


@dataclass(frozen=True)
class _Failing:
    """A request that fails, whatever ranks there are."""

    rank: int
    error: str
    skip: int
    lasting: bool

    def fault(self, operation: Name, world_size: int) -> RequestFault:
        return RequestFault(operation, self.rank % world_size, self.error, self.skip, self.lasting)


def _failing() -> SearchStrategy[_Failing]:
    ranks, skipped = st.integers(0, MOST_RANKS - 1), st.integers(0, _LAST_REQUEST)
    # Lasting as often as not: what happens once, a good client gets over.
    return st.builds(_Failing, ranks, st.sampled_from(REQUEST_ERRORS), skipped, st.booleans())


@st.composite
def failing_request_scenarios(
    draw: DrawFn, *, storage: str = SERVED, max_world_size: int = 3, max_entries: int = 2
) -> Scenario:
    """Scenarios on a storage with an endpoint, by default ours or the chosen one, where requests to its server fail.

    One or two, in the save or the load, once or from then on, at any of the first dozen requests of any rank. Saves by
    ``async_save`` and with several threads are among them, and none without collectives, since DCP protects nothing of
    such a save. Shrinks towards the first request of rank 0 that is dropped once.
    """
    name = draw(sampled_from(_NAMES), label="failing")
    failing = draw(st.lists(_failing(), min_size=1, max_size=2), label="requests")
    scenario = draw(
        scenarios(failing="nothing", max_world_size=max_world_size, min_entries=1, max_entries=max_entries),
        label="scenario",
    )
    if not scenario.save.coordinated:
        scenario = replace(scenario, save=scenario.save.with_collectives)
    world_size = scenario.operation(name).world_size
    faults = {(fault.rank, fault.skip): fault for fault in (each.fault(name, world_size) for each in failing)}
    found = replace(fitted(scenario, within_storages(storage)), request_faults=tuple(faults.values()))
    tell(features(found))
    return found
