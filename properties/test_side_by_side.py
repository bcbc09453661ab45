"""What is saved beside something else, to another place, is what it is alone."""

from __future__ import annotations

from hypothesis import given

from properties.choices import fewer, only_in
from properties.sharding import sharded
from properties.side_by_side_issues import check_side_by_side
from strategies import saves_side_by_side
from worlds import ProcessWorld
from worlds.example import ExampleWorld
from worlds.side_by_side import SideBySide


@only_in("simulated", "processes")
@sharded
@fewer(6)
@given(pair=saves_side_by_side())
def test_side_by_side(shard: int, world: ExampleWorld, pair: SideBySide) -> None:
    """Two groups of ranks that save at once, and two uploads in flight at once, each come to what they do alone."""
    check_side_by_side(pair, world)


@only_in("simulated")
@fewer(30)
@given(pair=saves_side_by_side(max_world_size=2))
def test_side_by_side_on_real_ranks(processes: ProcessWorld, pair: SideBySide) -> None:
    """On processes, whose threads and ranks really run at once, too."""
    check_side_by_side(pair, processes)
