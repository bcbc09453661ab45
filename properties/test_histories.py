"""In the course of a training, each load sees the state of one save, and no save shows what was before it."""

from __future__ import annotations

from hypothesis import given

from properties.choices import fewer, on_storages, only_in
from properties.history_issues import check_history
from properties.sharding import sharded
from strategies import histories, stored_histories
from worlds import ProcessWorld
from worlds.example import ExampleWorld
from worlds.histories import History


@only_in("simulated", "processes")
@sharded
@fewer(4)
@given(history=histories())
def test_histories(shard: int, world: ExampleWorld, history: History) -> None:
    """A load sees exactly the old state, exactly the new, or fails by name; a save comes to what it does alone."""
    check_history(history, world)


@on_storages
@only_in("simulated", "processes")
@sharded
@fewer(5)
@given(history=stored_histories())
def test_histories_on_storages(shard: int, world: ExampleWorld, history: History) -> None:
    """On any storage, which may keep less of an earlier checkpoint apart than the file system does, or more."""
    check_history(history, world)


@only_in("simulated")
@fewer(30)
@given(history=histories(max_world_size=2))
def test_histories_on_real_ranks(processes: ProcessWorld, history: History) -> None:
    """On processes, which remember what a process remembers, too."""
    check_history(history, processes)
