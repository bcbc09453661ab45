"""Runs the steps of a history, one after the other over one directory, and each save of it alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial

from .example import ExampleWorld
from .histories import History, HistoryOutcome, Save, SaveAlone, StepOutcome
from .kept import forget_kept, load_with_kept, save_with_kept
from .on_disk import contents, everything, on_disk
from .outcome import Outcome
from .overtaken import run_overtaken
from .program import list_files, read_metadata
from .storages import find_storage

__all__ = ["run_history"]


def run_history(world: ExampleWorld, history: History) -> HistoryOutcome:
    """What comes of each step, as far as the ranks go on, and of each save alone."""
    directory = world.new_directory()
    found: list[StepOutcome] = []
    try:
        with world.example():
            while len(found) < len(history.steps):
                run = run_overtaken if history.is_overtaken(len(found)) else _step
                found.extend(run(world, history, len(found), f"{directory}/together"))
                if not all(outcome.operation.goes_on for outcome in found):
                    break
        for index, outcome in enumerate(found):
            if isinstance(history.steps[index], Save):
                first = index == 0 and not history.is_overtaken(0)  # which is alone already
                alone = _itself(outcome) if first else _alone(world, history, index, f"{directory}/alone-{index}")
                found[index] = replace(outcome, alone=alone)
    finally:
        forget_kept()
        _clean_up(history, directory)
    return HistoryOutcome(tuple(found))


def _clean_up(history: History, directory: str) -> None:
    storage = find_storage(history.storage)
    together = sorted({f"together/{step.at}" for step in history.steps})
    alone = [f"alone-{index}" for index, step in enumerate(history.steps) if isinstance(step, Save)]
    try:
        for name in (*together, *alone):
            storage.clean_up(storage.checkpoint_id(f"{directory}/{name}"))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _step(world: ExampleWorld, history: History, index: int, directory: str) -> list[StepOutcome]:
    step, begins = history.steps[index], history.begins_job(index)
    before = everything(directory, history.storage)
    path = f"{directory}/{step.at}"
    call = partial(save_with_kept if isinstance(step, Save) else load_with_kept, step.again, begins)
    operation = world.operate(history.scenario(index), step.name, path, fresh=begins, call=call)
    return [on_disk(directory, step.at, history.storage).of(operation, before)]


def _alone(world: ExampleWorld, history: History, index: int, path: str) -> SaveAlone:
    with world.example():
        operation = world.operate(history.scenario(index), "save", path, fresh=True)
        found = (*read_metadata(path, history.storage), list_files(path, history.storage))
        return SaveAlone(Outcome(operation, None, *found), contents(path, history.storage))


def _itself(seen: StepOutcome) -> SaveAlone:
    return SaveAlone(Outcome(seen.operation, None, seen.metadata, seen.metadata_error, seen.files), seen.contents)
