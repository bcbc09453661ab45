"""The laws on a storage of the user's own: it is found, adapted and judged, or refused in one line."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from properties import judge
from properties.judge_history import judge_history
from properties.summary import feature_table, left_out_lines
from strategies import limit_storages, scenarios
from tests.test_pytest_run import run
from worlds import InvalidScenario, ObjectEntry, Operation, Scenario, SimulatedWorld, TensorEntry
from worlds.file_faults import FileFault
from worlds.fitting import fitted, fitted_history
from worlds.histories import History, Load, Save
from worlds.run_history import run_history
from worlds.storages import limits_of

LOCAL = "tests.own_storages:Local"
DROPPING = "tests.own_storages:Dropping"
IMMUTABLE = "tests.own_storages:Immutable"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tests.no_such_module:Storage", "cannot be made: ModuleNotFoundError: No module named 'tests.no_such_module'"),
        ("tests.own_storages:Missing", "cannot be made: AttributeError: module 'tests.own_storages' has no attribute"),
        ("tests.own_storages:Incomplete", "the storage tests.own_storages:Incomplete lacks clean_up"),
        ("tests.own_storages:Mistaken", "has limits that are none: atomic; dtypes, objects, options, "),
        (
            "tests.own_storages:Unready",
            "what make_writer of the storage tests.own_storages:Unready returns lacks reset",
        ),
    ],
)
def test_what_is_no_storage_is_refused_in_one_line(name: str, says: str) -> None:
    with pytest.raises(InvalidScenario) as caught:
        Scenario(storage=name)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_it_says_nothing_of_is_supported() -> None:
    limits = limits_of(LOCAL)
    assert limits.dtypes is None
    assert limits.metadata
    assert limits.processes
    assert limits.stages, "its writer is a stager"
    assert (limits.options, limits.uncoordinated, limits.objects) == ((), False, False)


def test_it_is_judged_like_any_other(world: SimulatedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "new_directory", lambda: f"{tmp_path}/example")
    scenario = Scenario((TensorEntry("a"), TensorEntry("b")), Operation(2), Operation(2), storage=LOCAL)
    assert Scenario.from_json(scenario.to_json()) == scenario
    outcome = world.run(scenario)
    assert judge(scenario, outcome), judge(scenario, outcome)
    assert outcome.files is None, "it does not list them"
    assert outcome.metadata is not None
    assert os.listdir(tmp_path) == [], "it has cleaned up"
    one_rank = Scenario(scenario.entries, storage=DROPPING)
    verdict = judge(one_rank, world.run(one_rank))
    assert "'b' at [] has no entry in the storage's index" in str(verdict), verdict
    with pytest.raises(InvalidScenario, match="cannot hold 'o', which is no tensor"):
        Scenario((ObjectEntry("o"),), storage=LOCAL)


@settings(max_examples=100, database=None)
@given(scenario=scenarios())
def test_any_scenario_fits_one_for_tensors_alone(scenario: Scenario) -> None:
    once = fitted(scenario, LOCAL)
    assert fitted(once, LOCAL) == once


def test_every_scenario_is_on_the_storage_that_was_chosen() -> None:
    limit_storages(only="memory")
    try:

        @settings(max_examples=20, database=None)
        @given(scenario=scenarios())
        def draw(scenario: Scenario) -> None:
            assert scenario.storage == "memory"

        draw()
    finally:
        limit_storages()


def test_histories_of_it_come_to_what_the_model_says(world: SimulatedWorld) -> None:
    """Over what is there, where that is possible; else each save is at a checkpoint of its own, and is loaded there."""
    history = History((TensorEntry("a"),), (Save(), Load(), Save(), Load(), Save("b"), Load(), Load("b")))
    for name, places in ((LOCAL, "aaaabab"), (IMMUTABLE, ["a", "a", "a_2", "a_2", "b", "a_2", "b"])):
        own = fitted_history(history, name)
        assert [step.at for step in own.steps] == list(places)
        assert fitted_history(own, name) == own
        assert judge_history(own, run_history(world, own)) == ()
    taken = replace(history, storage=IMMUTABLE)
    breach, *_ = judge_history(taken, run_history(world, taken))
    assert "Checkpoint already exists" in str(breach.violation())


def test_what_fails_below_it_fails_where_nothing_is(world: SimulatedWorld) -> None:
    """What it asks of its files where something is already, nobody knows: so in a history it is at loads alone."""
    saves = Save(file_faults=(FileFault("save", 0, "data.open"),))
    loads = Load(file_faults=(FileFault("load", 0, "data.open"),))
    own = fitted_history(History((TensorEntry("a"),), (saves, loads)), LOCAL)
    assert [step.file_faults for step in own.steps] == [(), loads.file_faults]
    assert judge_history(own, run_history(world, own)) == ()


def test_summary_tells_what_was_not_judged() -> None:
    assert list(left_out_lines(LOCAL, "", {"test_b", "test_a"})) == [
        "not supported: what is no tensor",
        "not supported: options of a writer other than none",
        "not supported: saves with use_collectives=False",
        "not judged: requests to a server that fail, for which it would have an endpoint",
        "not of storages, and so skipped: test_a, test_b",
    ]
    [row] = [line for line in feature_table({("storage", LOCAL): 3}) if line.startswith("| storage")]
    assert row.endswith(f"{LOCAL} 3 |")


@pytest.mark.commands
@pytest.mark.thorough
def test_option_runs_the_laws_of_storages() -> None:
    laws = ["properties/test_round_trip.py", "properties/test_training.py", "-k", "shard-0 or shard-1"]
    done = run(*laws, f"--storage={DROPPING}")
    assert done.returncode == 1, done.stdout
    assert f"storage {DROPPING}, profile quick" in done.stdout
    assert "BadStorageIndex: metadata:" in done.stdout
    assert f"storage='{DROPPING}'" in done.stdout
    assert f"pytest --storage={DROPPING} --hypothesis-profile=quick 'properties/test_round_trip.py" in done.stdout
    assert re.search("not of storages, and so skipped: .*test_training", done.stdout), done.stdout
    assert f"the storage {DROPPING} =" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--storage=memory", "--world=processes"], "--storage: memory keeps what is saved in one process, and here "),
    ],
)
def test_storage_that_cannot_be_had_ends_in_one_line(arguments: list[str], says: str) -> None:
    done = run(*arguments, "properties/test_round_trip.py", "--collect-only")
    assert done.returncode == 4
    [line] = done.stderr.strip().splitlines()
    assert line.startswith(f"ERROR: {says}"), line
