"""The laws on planners of the user's own: they are found and judged, or refused in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign.cli import main
from campaign.finding import read_finding
from properties.check import check
from properties.summary import left_out_lines
from properties.violations import Violation
from strategies import limit_planners, scenarios
from tests.shrinking import shrunk
from tests.test_pytest_run import run
from worlds import InvalidScenario, PlannerOptions, Scenario, SimulatedWorld, TensorEntry
from worlds.entries import Entry
from worlds.planners import find_planners

RIGHT, WITH_OPTIONS, FORGETTING, SHIFTING = (
    f"tests.own_planners:{name}" for name in ("Right", "WithOptions", "Forgetting", "Shifting")
)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mine", "there are no planners 'mine', only default, and module:name of your own"),
        ("tests.no_such:Planners", "the planners tests.no_such:Planners cannot be made: ModuleNotFoundError: "),
        ("tests.own_planners:Lacking", "lack make_save_planner and make_load_planner: one of them is needed"),
        (
            "tests.own_planners:Unready",
            "what make_load_planner of the planners tests.own_planners:Unready returns lacks ",
        ),
    ],
)
def test_what_are_no_planners_is_refused_in_one_line(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidScenario) as caught:
        Scenario(planners=name)
    assert says in str(caught.value)
    assert main(["fuzz", f"--planner={name}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"dcp-stress: error: --planner: {caught.value}"


def test_options_are_those_that_they_take() -> None:
    assert find_planners(RIGHT).options == ()
    assert find_planners(WITH_OPTIONS).options == ("dedup_save_to_lowest_rank",)
    deduped = Scenario(planner=PlannerOptions(dedup_save_to_lowest_rank=True), planners=WITH_OPTIONS)
    assert Scenario.from_json(deduped.to_json()) == deduped == eval(repr(deduped))
    with pytest.raises(InvalidScenario, match="Right does not take all of PlannerOptions"):
        Scenario(planner=PlannerOptions(dedup_save_to_lowest_rank=True), planners=RIGHT)
    options = "flatten_state_dict, flatten_sharded_tensors, enable_plan_caching, allow_partial_load"
    assert list(left_out_lines("", WITH_OPTIONS, {"a"})) == [
        f"not supported: options of a planner {options}",
        "not of planners, and so skipped: a",
    ]


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> Iterator[str]:
    limit_planners(request.param)
    yield request.param
    limit_planners()


@pytest.mark.thorough
@pytest.mark.parametrize("chosen", [FORGETTING], indirect=True)
def test_item_that_is_left_out_is_found(chosen: str, world: SimulatedWorld) -> None:
    """Whoever is not the coordinator, and has two things that nobody else has."""
    cases = scenarios(failing="nothing", max_world_size=3)
    violation, scenario = shrunk(cases, lambda case: check(case, world), Violation, max_examples=300)
    assert scenario.planners == chosen
    assert scenario.save.world_size == 2
    assert sum(map(parts_of_rank_1, scenario.entries)) == 2, violation


def parts_of_rank_1(entry: Entry) -> int:
    if not isinstance(entry, TensorEntry) or entry.saved is None:
        return 1
    return len(entry.saved.parts(entry.shape, 1))


@pytest.mark.parametrize("chosen", [SHIFTING], indirect=True)
def test_values_in_the_wrong_place_are_found(chosen: str, world: SimulatedWorld) -> None:
    cases = scenarios(failing="nothing", max_world_size=3)
    violation, scenario = shrunk(cases, lambda case: check(case, world), Violation, max_examples=300)
    assert type(violation).__name__ == "WrongBits", violation
    assert len(scenario.entries) == 1
    assert f"planners='{chosen}'" in str(violation)


@pytest.mark.thorough
def test_laws_run_with_them() -> None:
    laws = ["properties/test_round_trip.py", "properties/test_training.py", "-k", "shard-0"]
    done = run(*laws, f"--planner={RIGHT}", "--storage=memory")
    assert done.returncode == 0, done.stdout
    assert f"storage memory, planners {RIGHT}, profile quick" in done.stdout
    assert f"the storage memory, the planners {RIGHT} =" in done.stdout
    assert re.search("not of storages, and so skipped: .*test_training", done.stdout), done.stdout


@pytest.mark.slow
def test_campaign_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    into = tmp_path / "campaign"
    limits = ["--units=1", "--max-examples=100", "--max-time=5m", "--workers=1", "--seed=1", "--into", str(into)]
    assert main(["fuzz", "round_trip", f"--planner={SHIFTING}", *limits]) == 1
    said = capsys.readouterr()
    assert f"1 laws with the planners {SHIFTING} in the simulated world" in said.err
    assert f"planners='{SHIFTING}'" in said.out
    assert "not of planners, and so skipped: " in said.out
    found = read_finding(next((into / "findings").iterdir()))
    assert main(["script", str(into / "findings" / found.id)]) == 3
    why = f"a script needs torch alone, and the planners {SHIFTING} are not torch's: replay it instead"
    assert capsys.readouterr().err == f"dcp-stress: error: {why}\n"
