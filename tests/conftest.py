"""The tests of the tester have the simulated world, whatever world the laws run in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign.opened import OpenedWorlds
from worlds import SimulatedWorld
from worlds.hygiene import quiet


@pytest.fixture(scope="session")
def world(simulated: SimulatedWorld) -> SimulatedWorld:
    """The simulated world."""
    return simulated


@pytest.fixture(scope="module")
def opened() -> Iterator[OpenedWorlds]:
    """Worlds that are made when they are asked for."""
    with OpenedWorlds() as made, quiet():
        yield made


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """The directory of the campaign."""
    return tmp_path / "campaign"
