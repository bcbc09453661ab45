"""What a rank that dies leaves behind: nobody who waits, no false success, and no mixture of checkpoints."""

from __future__ import annotations

from hypothesis import given

from properties.choices import fewer, only_in
from properties.killed_issues import check_killed
from properties.sharding import sharded
from strategies import killed_scenarios
from worlds import ProcessWorld
from worlds.killed import KilledScenario


@only_in("simulated", "processes")
@sharded
@fewer(20)
@given(killed=killed_scenarios())
def test_killed_ranks(shard: int, processes: ProcessWorld, killed: KilledScenario) -> None:
    """Survivors end without success, other checkpoints stay, and a later load is all old, all new, or fails by name."""
    check_killed(killed, processes)
