"""What cannot be given to DCP is refused clearly and harmlessly, on every rank alike, or works."""

from __future__ import annotations

from hypothesis import given

from properties.choices import fewer, only_in
from properties.misuse_issues import check_misuse
from properties.sharding import sharded
from strategies import misuses
from worlds.example import ExampleWorld
from worlds.misuses import Misuse


@only_in("simulated", "processes")
@sharded
@fewer(3)
@given(misuse=misuses())
def test_misuse(shard: int, world: ExampleWorld, misuse: Misuse) -> None:
    """Whoever gives what is wrong, every rank is told so, nothing is written or loaded, and the next call is exact."""
    check_misuse(misuse, world)
