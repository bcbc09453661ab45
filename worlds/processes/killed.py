"""Runs a scenario in which ranks die, and looks at what they leave behind."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import torch.distributed as dist
from torch.distributed import distributed_c10d as c10d

from ..digests import digests
from ..killed import Kill, KilledOutcome, KilledScenario
from ..older import make_old
from ..outcome import OperationOutcome, RankOutcome
from . import jobs
from .death import arm
from .world import ProcessWorld

__all__ = ["run_killed"]


def run_killed(world: ProcessWorld, killed: KilledScenario) -> KilledOutcome:
    """Leave an earlier checkpoint, save or load with ranks that die, and load with ranks that live."""
    directory = world.new_directory()
    try:
        return _run(world, killed, f"{directory}/earlier", f"{directory}/new")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(world: ProcessWorld, killed: KilledScenario, earlier: str, new: str) -> KilledOutcome:
    scenario = killed.scenario
    saves = killed.operation == "save"
    before = world.operate(scenario, "save", earlier, prepare=make_old if saves else None)
    if not before.returned:
        return KilledOutcome(before)
    files = digests(earlier)
    target = new if saves and killed.path == "another" else earlier
    operation, died = _operate(world, killed, target)
    overwritten = saves and killed.path == "same"
    after = files if overwritten else digests(earlier)
    changed = tuple(sorted(name for name in files.keys() | after.keys() if files.get(name) != after.get(name)))
    later = world.operate(scenario, "load", target)
    return KilledOutcome(before, operation, died, changed, later)


def _operate(world: ProcessWorld, killed: KilledScenario, path: str) -> tuple[OperationOutcome, tuple[int, ...]]:
    """The operation in which ranks die, in a world of its own that ends with it."""
    operation = killed.scenario.operation(killed.operation)
    pool = world.new_pool(operation.world_size, distributed=operation.distributed, sees_deadlocks=False)
    try:
        answers = pool.run(lambda rank: partial(_operate_and_die, killed, rank, path, world.survivors_timeout))
    finally:
        pool.close()
    answers.raise_broken()
    ranks = tuple(answers.ranks[rank] for rank in range(operation.world_size))
    return OperationOutcome(ranks), answers.reached_in_order()


def _operate_and_die(killed: KilledScenario, rank: int, path: str, timeout: float) -> RankOutcome | None:
    """In a rank: the timeout is short only now that the group is made, which takes a while on a busy machine."""
    if dist.is_initialized():
        c10d._set_pg_timeout(timedelta(seconds=timeout))
    mine: Sequence[tuple[int, Kill]] = [one for one in enumerate(killed.kills) if one[1].rank == rank]
    arm(killed.operation, mine)
    return jobs.operate(killed.scenario, killed.operation, rank, path, fresh=True)
