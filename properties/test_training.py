"""A training that is saved is the one that goes on after a load."""

from __future__ import annotations

from hypothesis import given

from properties.check import World
from properties.choices import fewer, only_in
from properties.sharding import sharded
from properties.training import check_training
from strategies import trainings
from worlds.training import Training


@only_in("simulated", "processes")
@sharded
@fewer(8)
@given(training=trainings())
def test_training_state(shard: int, world: World, training: Training) -> None:
    """Parameters, buffers, optimizer states and hyperparameters are bit for bit those that were saved, on every rank.

    By way of ``get_state_dict`` and ``set_state_dict``, whatever the parallelism at save and at load.
    """
    check_training(training, world)
