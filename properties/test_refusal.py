"""What does not fit the checkpoint is refused, and then nothing has been touched."""

from __future__ import annotations

from hypothesis import given

from properties.check import World, check
from properties.choices import on_storages
from properties.sharding import sharded
from strategies import scenarios
from worlds import Scenario


@on_storages
@sharded
@given(scenario=scenarios(failing="nothing", mismatched=True))
def test_refusal(shard: int, world: World, scenario: Scenario) -> None:
    """A load of what is missing, or has another shape, dtype or kind, names every rank that asked for it."""
    check(scenario, world)
