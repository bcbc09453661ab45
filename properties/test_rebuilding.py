"""What is read of a checkpoint without a template is what was saved, by whatever way."""

from __future__ import annotations

from hypothesis import given

from properties.choices import fewer, only_in
from properties.rebuilding_issues import check_rebuilding
from properties.sharding import sharded
from strategies import rebuildings
from worlds.example import ExampleWorld
from worlds.rebuilding import Rebuilding


@only_in("simulated", "processes")
@sharded
@fewer(3)
@given(rebuilding=rebuildings())
def test_rebuilding(shard: int, world: ExampleWorld, rebuilding: Rebuilding) -> None:
    """A ``torch.save`` file that a checkpoint is converted to, and a state dict of all or some keys, hold the saved."""
    check_rebuilding(rebuilding, world)
