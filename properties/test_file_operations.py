"""When an operation on files fails, every rank is told whose it was, or all is as if nothing had failed."""

from __future__ import annotations

from hypothesis import given

from properties.check import World, check
from properties.choices import fewer, on_files, only_in
from properties.sharding import sharded
from strategies import failing_file_scenarios
from worlds import ProcessWorld, Scenario


@on_files
@sharded
@fewer(3)
@given(scenario=failing_file_scenarios())
def test_file_operations(shard: int, world: World, scenario: Scenario) -> None:
    """A save or load in which the system refuses something names exactly those ranks in that phase, or is exact."""
    check(scenario, world)


@only_in("simulated")
@fewer(40)
@given(scenario=failing_file_scenarios(max_world_size=2, max_entries=2))
def test_file_operations_on_real_ranks(processes: ProcessWorld, scenario: Scenario) -> None:
    """On processes, whose writer threads really run at once, too."""
    check(scenario, processes)
