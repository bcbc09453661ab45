"""How often histories and conversions reach the corners that bugs lie in: a floor at about half of what was seen."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from strategies import histories, rebuildings, stored_histories
from strategies.case_features import case_features
from tests.test_strategies import count, sample
from worlds.histories import History, Save
from worlds.rebuilding import Rebuilding
from worlds.storages import FILE_SYSTEM, SHIPPED

pytestmark = pytest.mark.thorough

_IN_PLAN = {"planner.create_global_plan", "writer.prepare_global_plan", "writer.prepare_local_plan"}


ON_STORAGES = {f"on {name}": 8 for name in SHIPPED if name != FILE_SYSTEM}
ON_STORAGES |= {"on fsspec": 60, "on safetensors": 60, "on consolidated": 40}


def _jobs(history: History) -> Iterator[list[Save]]:
    """The saves of each job."""
    saves: list[Save] = []
    for index, step in enumerate(history.steps):
        if history.begins_job(index):
            yield saves
            saves = []
        if isinstance(step, Save):
            saves.append(step)
    yield saves


def _of_history(history: History) -> Iterator[str]:
    if len({step.operation.world_size for step in history.steps}) > 1:
        yield "world sizes"
    for before, after in itertools.chain.from_iterable(itertools.combinations(job, 2) for job in _jobs(history)):
        yield "two saves in a job"
        if before.operation.api == after.operation.api == "async" and "stager" in after.again:
            same = before.operation.stager == after.operation.stager
            yield from ["stager again"] * same
            yield from ["stager and tensors again"] * (same and "tensors" in after.again)
        if history.planner.enable_plan_caching and before.without == after.without:
            yield from ["plan kept"] * (not before.faults)
            yield from ["plan that failed"] * any(fault.hook in _IN_PLAN for fault in before.faults)


def test_histories_are_of_long_jobs_and_of_several() -> None:
    floors = {"two saves in a job": 150, "world sizes": 75, "plan kept": 20, "plan that failed": 6}
    floors |= {"stager again": 25, "stager and tensors again": 15}
    drawn = sample(histories())
    counts = count(drawn, _of_history)
    assert {corner: counts[corner] for corner, least in floors.items() if counts[corner] < least} == {}


def test_histories_go_to_each_storage() -> None:
    counts = count(sample(stored_histories()), case_features)
    seen = {name: counts["step of a history", name] for name in ON_STORAGES}
    assert {name: seen[name] for name, least in ON_STORAGES.items() if seen[name] < least} == {}, seen


def _of_rebuilding(rebuilding: Rebuilding) -> Iterator[str]:
    yield rebuilding.by
    paths = [unit.path for unit in rebuilding.scenario.units("save")]
    above = {".".join(map(str, path[:length])) for path in paths for length in range(1, len(path))}
    if above:
        yield "nested"
    if above.intersection(rebuilding.keys or ()):
        yield "key with something below it"


def test_conversions_are_of_what_is_nested_by_every_way() -> None:
    floors = dict.fromkeys(("dcp_to_torch_save", "there_and_back", "keys", "planner"), 60)
    floors |= {"nested": 80, "key with something below it": 15}
    drawn = sample(rebuildings())
    counts = count(drawn, _of_rebuilding)
    assert {corner: counts[corner] for corner, least in floors.items() if counts[corner] < least} == {}
