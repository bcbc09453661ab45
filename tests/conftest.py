"""The tests of the tester have the simulated world, whatever world the laws run in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from worlds import ProcessWorld, SimulatedWorld


@pytest.fixture(scope="session")
def world() -> Iterator[SimulatedWorld]:
    """The simulated world."""
    with SimulatedWorld() as simulated:
        yield simulated


@pytest.fixture(scope="session")
def processes() -> Iterator[ProcessWorld]:
    """The process world; tests share it, since to start one takes seconds."""
    with ProcessWorld() as world:
        yield world
