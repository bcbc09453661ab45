"""The tests of the tester have the simulated world, whatever world the laws run in."""

from __future__ import annotations

from pathlib import Path

import pytest

from worlds import SimulatedWorld


@pytest.fixture(scope="session")
def world(simulated: SimulatedWorld) -> SimulatedWorld:
    """The simulated world."""
    return simulated


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """The directory of the campaign."""
    return tmp_path / "campaign"
