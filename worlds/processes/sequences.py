"""Runs saves one after the other in the same processes, with and without the planner's caches."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial

from ..outcome import Outcome, RankOutcome
from ..program import round_trip
from ..scenario import Scenario
from ..sequences import SaveSequence, SequenceOutcome
from . import jobs
from .world import ProcessWorld

__all__ = ["run_sequence"]


def run_sequence(world: ProcessWorld, sequence: SaveSequence, *, caching: bool) -> SequenceOutcome:
    """Save each step by the same ranks, with ``enable_plan_caching`` or without, and load it.

    The ranks begin with nothing in their caches.
    """
    directory = world.new_directory()
    outcomes: list[Outcome] = []
    try:
        for number, step in enumerate(sequence.steps):
            outcome = _run(world, step, sequence.path(directory, number), fresh=number == 0, caching=caching)
            outcomes.append(outcome)
            if not world.keeps(step, "save"):
                break
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return SequenceOutcome(tuple(outcomes))


def _run(world: ProcessWorld, step: Scenario, path: str, *, fresh: bool, caching: bool) -> Outcome:
    save = partial(world.operate, step, "save", path, fresh=fresh, job=partial(_save, caching))
    return round_trip(step, path, save, partial(world.operate, step, "load", path, fresh=False))


def _save(caching: bool, scenario: Scenario, name: str, rank: int, path: str, *, fresh: bool) -> RankOutcome | None:
    """In a rank: :func:`worlds.processes.jobs.operate` with a planner that caches, if it is to."""
    planner = replace(scenario.planner, enable_plan_caching=caching)
    return jobs.operate(replace(scenario, planner=planner), "save", rank, path, fresh=fresh)
