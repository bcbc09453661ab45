"""What a process remembers of one save does not show in the next."""

from __future__ import annotations

from hypothesis import given

from properties.choices import fewer, only_in
from properties.judge_async import check_async_sequence
from properties.sequence_issues import check_sequence
from properties.sharding import sharded
from strategies import async_save_sequences, save_sequences
from worlds import ProcessWorld
from worlds.sequences import SaveSequence


@only_in("simulated", "processes")
@sharded
@fewer(30)
@given(sequence=save_sequences())
def test_plan_caching(shard: int, processes: ProcessWorld, sequence: SaveSequence) -> None:
    """Saves one after the other come to the same with ``enable_plan_caching`` and without."""
    check_sequence(sequence, processes)


@only_in("simulated", "processes")
@sharded
@fewer(60)
@given(sequence=async_save_sequences())
def test_process_executor(shard: int, processes: ProcessWorld, sequence: SaveSequence) -> None:
    """Saves by ``async_save`` in a process, of what is changed right after, come to what blocking saves do."""
    check_async_sequence(sequence, processes)
