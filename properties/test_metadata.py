"""The metadata tells the truth: of what was saved, of how it is cut, and of where it is kept."""

from __future__ import annotations

from functools import partial

from hypothesis import given

from properties.check import World, check, pass_or_raise
from properties.choices import fewer, on_storages
from properties.judge import judge_default_metadata
from properties.sharding import sharded
from strategies import scenarios
from worlds import Scenario
from worlds.outcome import Deadlocked, Died
from worlds.program import default_metadata


@on_storages
@sharded
@fewer(2)  # an example has many entries
@given(scenario=scenarios(failing="nothing", max_entries=6, max_world_size=4))
def test_metadata(shard: int, world: World, scenario: Scenario) -> None:
    """The chunks of each tensor tile it exactly, and each chunk and object has its place in a file, its own."""
    check(scenario, world)


@sharded
@fewer(2)  # it is about one call
@given(scenario=scenarios(failing="nothing", core=True))
def test_default_metadata(shard: int, world: World, scenario: Scenario) -> None:
    """What a rank says of a state dict without asking the others is true of the whole, whoever holds the chunks."""
    save = scenario.save
    launched = world.launch(partial(default_metadata, scenario), save.world_size, distributed=save.distributed)
    records = [record for record in launched.ranks if not isinstance(record, Deadlocked | Died)]
    assert len(records) == save.world_size
    pass_or_raise(judge_default_metadata(scenario, records))
