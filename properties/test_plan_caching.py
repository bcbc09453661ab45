"""What a process remembers of one save does not show in the next."""

from __future__ import annotations

from hypothesis import given

from properties.choices import fewer, only_in
from properties.judge_sequence import check_sequence
from properties.sharding import sharded
from strategies import save_sequences
from worlds import ProcessWorld
from worlds.sequences import SaveSequence


@only_in("simulated", "processes")
@sharded
@fewer(30)
@given(sequence=save_sequences())
def test_plan_caching(shard: int, processes: ProcessWorld, sequence: SaveSequence) -> None:
    """Saves one after the other come to the same with ``enable_plan_caching`` and without."""
    check_sequence(sequence, processes)
