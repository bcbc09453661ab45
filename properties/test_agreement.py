"""The simulated world and real ranks see the same, so that what holds in one holds in the other."""

from __future__ import annotations

from hypothesis import given

from properties.agreement import compare_worlds
from properties.check import World
from properties.choices import fewer, only_in
from properties.sharding import sharded
from strategies import scenarios
from worlds import Scenario


@only_in("simulated", "processes")
@sharded
@fewer(15)
@given(scenario=scenarios(max_world_size=5))
def test_agreement(shard: int, simulated: World, processes: World, scenario: Scenario) -> None:
    """One scenario has the same verdict and the same outcome on each rank, simulated and on real processes."""
    compare_worlds(scenario, simulated.run(scenario), processes.run(scenario))
