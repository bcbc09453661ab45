"""Runs saves by ``async_save`` with the process executor, one after the other, by ranks that keep their daemons.

torch pickles the state, the writer and the planner for a daemon process of each rank, which has a group of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch.distributed.checkpoint import _async_process_executor
from torch.distributed.checkpoint.staging import AsyncStager
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType, AsyncSaveResponse, async_save

from ..calls import make_save_planner, make_stager, make_writer, save_options, wait_for_staging
from ..older import make_old
from ..outcome import Outcome, RankOutcome, Returned
from ..program import raised, round_trip
from ..scenario import Scenario
from ..sequences import SaveSequence, SequenceOutcome
from ..state import StateDict
from .world import ProcessWorld

__all__ = ["run_async_sequence"]


def run_async_sequence(world: ProcessWorld, sequence: SaveSequence) -> SequenceOutcome:
    """Save each step by ``async_save``, with its stager, and load it.

    Every value is changed as soon as the call has returned, or its staging is done.
    """
    directory = world.new_directory()
    outcomes: list[Outcome] = []
    try:
        for number, step in enumerate(sequence.steps):
            save = partial(_save, anew=sequence.anew and number == 0)
            outcomes.append(_run(world, step, sequence.path(directory, number), save))
            if not world.keeps(step, "save"):
                break
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return SequenceOutcome(tuple(outcomes))


def _run(world: ProcessWorld, step: Scenario, path: str, job: Callable[..., RankOutcome]) -> Outcome:
    save = partial(world.operate, step, "save", path, job=job)
    return round_trip(step, path, save, partial(world.operate, step, "load", path))


def _save(scenario: Scenario, name: str, rank: int, path: str, *, fresh: bool, anew: bool) -> RankOutcome:
    """In a rank; what it holds afterwards is other values, so that nothing is said of them."""
    if anew:
        _end_daemon()
    os.environ["MASTER_ADDR"] = "127.0.0.1"  # where the daemons of the ranks meet
    state = StateDict(scenario, "save", rank)
    try:
        with _closing_stager(scenario) as stager:
            writer = None if scenario.save.by_path else make_writer(scenario, path)
            saving = async_save(
                state.entries,
                async_checkpointer_type=AsyncCheckpointerType.PROCESS,
                async_stager=stager,
                **save_options(scenario, path, writer, make_save_planner(scenario), None),
            )
            if isinstance(saving, AsyncSaveResponse):
                wait_for_staging(saving, stager, scenario.save.stager)
                saving = saving.upload_completion
            make_old(state)
            saving.result()
    except BaseException as error:
        return raised(error, path, ())
    return Returned(())


def _end_daemon() -> None:
    """End the daemon of this rank, if it has one, so that the next save begins another.

    It would end with the last reference to it, but what watches over ranks that hang keeps the frames that it has seen.
    """
    daemon, _async_process_executor._CHECKPOINT_PROCESS = _async_process_executor._CHECKPOINT_PROCESS, None
    if daemon is not None:
        process: Any = daemon._save_process
        process.kill()
        process.join()


@contextmanager
def _closing_stager(scenario: Scenario) -> Iterator[AsyncStager | None]:
    """The stager that the save is given, if any, which its owner closes when the upload is done."""
    stager = None if scenario.save.by_path else make_stager(scenario.save.stager)
    try:
        yield stager
    finally:
        if stager is not None:
            stager.close()
