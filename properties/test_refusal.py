"""What does not fit the checkpoint is refused, and then nothing has been touched."""

from __future__ import annotations

from hypothesis import given

from properties.check import World, check
from properties.choices import fewer, on_storages
from properties.sharding import sharded
from strategies import scenarios
from worlds import Scenario


@on_storages
@sharded
@given(scenario=scenarios(failing="nothing", mismatched=True, by_path=True, spared=True))
def test_refusal(shard: int, world: World, scenario: Scenario) -> None:
    """A load of what is missing, or has another shape, dtype or kind, names every rank that asked for it."""
    check(scenario, world)


@on_storages
@sharded
@fewer(4)
@given(scenario=scenarios(failing="load", mismatched=True, spared=True))
def test_refusal_where_ranks_fail(shard: int, world: World, scenario: Scenario) -> None:
    """As well where ranks fail in the same load: who refused and who failed are told apart, by rank and phase."""
    check(scenario, world)
