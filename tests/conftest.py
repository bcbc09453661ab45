"""The tests of the tester have the simulated world, whatever world the laws run in."""

from __future__ import annotations

import pytest

from worlds import SimulatedWorld


@pytest.fixture(scope="session")
def world(simulated: SimulatedWorld) -> SimulatedWorld:
    """The simulated world."""
    return simulated
