"""Runs the steps of a history, one after the other over one directory, and each save of it alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial

from .digests import digests
from .example import ExampleWorld
from .histories import History, HistoryOutcome, Save, SaveAlone, StepOutcome
from .kept import forget_kept, load_with_kept, save_with_kept
from .outcome import Deadlocked, Died, OperationOutcome, Outcome
from .program import list_files, read_metadata

__all__ = ["run_history"]


def run_history(world: ExampleWorld, history: History) -> HistoryOutcome:
    """What comes of each step, as far as the ranks go on, and of each save alone."""
    directory = world.new_directory()
    found: list[StepOutcome] = []
    try:
        with world.example():
            for index in range(len(history.steps)):
                outcome = _step(world, history, index, f"{directory}/together")
                found.append(outcome)
                if not _goes_on(outcome.operation):
                    break
        for index, outcome in enumerate(found):
            if isinstance(history.steps[index], Save):
                first = index == 0  # which is alone already
                alone = _itself(outcome) if first else _alone(world, history, index, f"{directory}/alone-{index}")
                found[index] = replace(outcome, alone=alone)
    finally:
        forget_kept()
        shutil.rmtree(directory, ignore_errors=True)
    return HistoryOutcome(tuple(found))


def _step(world: ExampleWorld, history: History, index: int, directory: str) -> StepOutcome:
    step, begins = history.steps[index], history.begins_job(index)
    before = digests(directory)
    path = f"{directory}/{step.at}"
    call = partial(save_with_kept if isinstance(step, Save) else load_with_kept, step.again, begins)
    operation = world.operate(history.scenario(index), step.name, path, fresh=begins, call=call)
    after = digests(directory)
    changed = tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))
    metadata, error = read_metadata(path)
    return StepOutcome(operation, metadata, error, list_files(path), _contents(path), changed)


def _alone(world: ExampleWorld, history: History, index: int, path: str) -> SaveAlone:
    with world.example():
        operation = world.operate(history.scenario(index), "save", path, fresh=True)
        return SaveAlone(Outcome(operation, None, *read_metadata(path), list_files(path)), _contents(path))


def _itself(seen: StepOutcome) -> SaveAlone:
    return SaveAlone(Outcome(seen.operation, None, seen.metadata, seen.metadata_error, seen.files), seen.contents)


def _contents(path: str) -> tuple[tuple[str, str], ...]:
    """All but metadata, which say where they are."""
    return tuple(sorted(item for item in digests(path).items() if ".metadata" not in item[0]))


def _goes_on(operation: OperationOutcome) -> bool:
    return not any(isinstance(seen, Deadlocked | Died) for seen in operation.ranks)
