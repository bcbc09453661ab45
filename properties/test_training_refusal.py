"""What does not fit a training is refused clearly, on every rank alike, and does no lasting harm."""

from __future__ import annotations

from hypothesis import given

from properties.choices import fewer, only_in
from properties.sharding import sharded
from properties.training import check_misfit
from strategies import misfits
from worlds.example import ExampleWorld
from worlds.training.misfit import Misfit


@only_in("simulated", "processes")
@sharded
@fewer(10)
@given(misfit=misfits())
def test_training_refusal(shard: int, world: ExampleWorld, misfit: Misfit) -> None:
    """Every rank that is given what does not fit is told what is wrong with it, and then what fits loads exactly.

    By an error that ``set_state_dict`` raises for it, and that names the key, the parameter or the option; no rank
    waits for ever. Where the state dict is broadcast from rank 0, all ranks are told. What makes no difference may be
    taken, and so may what is reported as ``strict=False`` says: a part of what was refused may have been loaded, as by
    ``load_state_dict``, but not be left when what fits has been.
    """
    check_misfit(misfit, world)
