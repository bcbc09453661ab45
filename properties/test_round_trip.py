"""What is saved without a failure is what is loaded, on every rank."""

from __future__ import annotations

from hypothesis import given

from properties.check import World, check
from properties.choices import on_storages
from properties.sharding import sharded
from strategies import scenarios
from worlds import Scenario


@on_storages
@sharded
@given(scenario=scenarios(failing="nothing", by_path=True))
def test_round_trip(shard: int, world: World, scenario: Scenario) -> None:
    """Every element of every shard has the bits that were saved, and nothing else has changed."""
    check(scenario, world)


@sharded
@given(scenario=scenarios(failing="nothing", max_world_size=2, staged=True))
def test_staged_objects(shard: int, world: World, scenario: Scenario) -> None:
    """Every object is loaded as it was when ``async_save`` was called, whatever copies it until it is written."""
    check(scenario, world)
