"""What holds of DCP's own files holds on any storage."""

from __future__ import annotations

from hypothesis import given

from properties.check import World, check
from properties.choices import fewer, on_storages
from properties.sharding import sharded
from strategies import stored_scenarios
from worlds import Scenario


@on_storages
@sharded
@fewer(2)
@given(scenario=stored_scenarios(failing="nothing"))
def test_round_trip_on_storages(shard: int, world: World, scenario: Scenario) -> None:
    """What is saved without a failure is what is loaded, and the metadata of it tell the truth."""
    check(scenario, world)


@on_storages
@sharded
@fewer(4)
@given(scenario=stored_scenarios(failing="save"))
def test_blame_at_save_on_storages(shard: int, world: World, scenario: Scenario) -> None:
    """A save in which ranks fail names them on every rank; none waits for ever."""
    check(scenario, world)


@on_storages
@sharded
@fewer(4)
@given(scenario=stored_scenarios(failing="load"))
def test_blame_at_load_on_storages(shard: int, world: World, scenario: Scenario) -> None:
    """A load in which ranks fail names them on every rank; none waits for ever."""
    check(scenario, world)


@on_storages
@sharded
@fewer(10)
@given(scenario=stored_scenarios(failing="nothing", mismatched=True))
def test_refusal_on_storages(shard: int, world: World, scenario: Scenario) -> None:
    """What does not fit the checkpoint is refused, and then nothing has been touched."""
    check(scenario, world)
