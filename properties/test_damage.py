"""The load of a checkpoint that was damaged after the save raises, naming exactly who reads the damage, or is exact."""

from __future__ import annotations

from hypothesis import given

from properties.check import World
from properties.choices import fewer
from properties.damage_issues import check_damaged
from properties.sharding import sharded
from strategies import damaged_scenarios
from worlds import Scenario


@sharded
@fewer(2)
@given(scenario=damaged_scenarios())
def test_damage(shard: int, world: World, scenario: Scenario) -> None:
    """Exactly those who read what is gone are named; what nobody reads does not matter, and nothing else is wrong."""
    check_damaged(scenario, world)
