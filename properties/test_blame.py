"""When ranks fail, every rank raises ``CheckpointException`` and names exactly those ranks."""

from __future__ import annotations

from hypothesis import given

from properties.check import World, check
from properties.choices import on_storages
from properties.sharding import sharded
from strategies import scenarios
from worlds import Scenario


@on_storages
@sharded
@given(scenario=scenarios(failing="save", by_path=True, spared=True))
def test_blame_at_save(shard: int, world: World, scenario: Scenario) -> None:
    """A save in which ranks fail names them, with what each raised and the phase, on every rank."""
    check(scenario, world)


@on_storages
@sharded
@given(scenario=scenarios(failing="load", by_path=True, spared=True))
def test_blame_at_load(shard: int, world: World, scenario: Scenario) -> None:
    """A load in which ranks fail names them, with what each raised and the phase, on every rank."""
    check(scenario, world)
