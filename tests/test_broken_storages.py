"""The storages that are broken on purpose: each defect is found on sight, named, and shrunk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import strategies as st

from campaign.cli import main
from campaign.finding import read_finding
from campaign.minimize import minimized
from properties.check import check
from properties.history_issues import check_history
from properties.violations import BadStorageIndex, LostFailure, Violation, WrongBits
from strategies import stored_histories, stored_scenarios
from tests.shrinking import shrunk
from worlds import Scenario, SimulatedWorld, TensorEntry
from worlds.broken import Acknowledging, Dropping, Keeping, Misnaming
from worlds.histories import Load, Save

DROPPING, ACKNOWLEDGING, MISNAMING, KEEPING = (
    f"worlds.broken:{kind.__name__}" for kind in (Dropping, Acknowledging, Misnaming, Keeping)
)


def _first(
    storage: str, failing: Literal["nothing", "save"], kind: type[Violation], world: SimulatedWorld
) -> tuple[str, Scenario]:
    """What is said of the smallest scenario, of no more than a law draws on storages in the profile ``quick``.

    Shrunk by Hypothesis and minimized, as a campaign does with what it finds.
    """
    cases = stored_scenarios(names=st.just(storage), failing=failing)
    _, scenario = shrunk(cases, lambda case: check(case, world), kind, max_examples=4 * 15)

    def breaks(case: Scenario) -> Violation | None:
        try:
            check(case, world)
        except kind as violation:
            return violation
        except AssertionError:
            return None  # another law's
        return None

    scenario = minimized(scenario, lambda case: breaks(case) is not None, seconds=600).case
    assert scenario.storage == storage
    return str(breaks(scenario)), scenario


def test_dropped_byte_is_found(world: SimulatedWorld) -> None:
    text, scenario = _first(DROPPING, "nothing", BadStorageIndex, world)
    assert re.search(r"metadata: 'a' is said to be at 0-\d+ of '0/0/0' of \d+ bytes\n", text), text
    assert scenario == Scenario((TensorEntry("a"),), storage=DROPPING)


@pytest.mark.thorough
def test_write_that_is_acknowledged_too_early_is_found(world: SimulatedWorld) -> None:
    text, scenario = _first(ACKNOWLEDGING, "nothing", BadStorageIndex, world)
    assert re.search(r"metadata: '[ab]' is said to be at 0-\d+ of no file '0/1/0'\n", text), "what rank 1 was to write"
    assert scenario.save.world_size == 2
    assert len(scenario.entries) <= 2, "one that rank 1 alone has, or a second one, which is then written by rank 1"


@pytest.mark.thorough
def test_wrong_rank_is_found(world: SimulatedWorld) -> None:
    text, scenario = _first(MISNAMING, "save", LostFailure, world)
    lost = re.search(r"save: rank (\d) failed in planner.resolve_data \(OSError, through the call\), and rank 0", text)
    named = re.search(r"in 'write' naming rank (\d) \(OSError: \[Errno 5\] injected fault 0\)\n", text)
    assert lost is not None, text
    assert named is not None, text
    assert named[1] == str(scenario.save.coordinator) != lost[1]
    assert (len(scenario.faults), scenario.save.world_size) == (1, 2)
    assert len(scenario.entries) <= 2, "one that rank 1 alone has, or a second one, which is then written by rank 1"


def test_save_that_keeps_what_an_earlier_one_wrote_is_found(world: SimulatedWorld) -> None:
    cases = stored_histories(names=st.just(KEEPING))
    violation, history = shrunk(cases, lambda case: check_history(case, world), WrongBits, max_examples=4 * 15)
    assert history.storage == KEEPING
    assert [type(step) for step in history.steps] == [Save, Save, Load]
    assert len(history.entries) == 1
    assert "step 2: 1 rank saves to 'a', where step 1 was to be seen" in str(violation)


@pytest.mark.commands
@pytest.mark.thorough
def test_campaign_on_a_storage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is judged by the laws of storages alone; what is found is shown, replayed, minimized, and has no script."""
    into = tmp_path / "campaign"
    limits = ["--units=1", "--max-examples=20", "--max-time=5m", "--workers=1", "--seed=1"]
    laws = ["round_trip", "storages"]
    assert main(["fuzz", *laws, f"--storage={DROPPING}", *limits, "--into", str(into)]) == 1
    said = capsys.readouterr()
    assert f"5 laws on the storage {DROPPING} in the simulated world" in said.err
    assert f"    scenario = Scenario(entries=(TensorEntry('a'),), storage='{DROPPING}')\n" in said.out
    for shown in (said.out, (into / "summary.md").read_text().replace("\\", "")):
        assert "not supported: saves with use_collectives=False\n" in shown
        assert ", traverse, validation, windows\n" in shown
    assert f"It was on the storage {DROPPING}, without:" in (into / "report.html").read_text()
    found = [read_finding(path) for path in (into / "findings").iterdir()]
    assert {finding.read_case().storage for finding in found} == {DROPPING}
    _check_verbs(into / "findings" / found[0].id, capsys)


def _check_verbs(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what in (own, own / "scenario.json"):
        assert main(["replay", str(what)]) == 1
    assert main(["minimize", str(own)]) == 0
    assert f"storage='{DROPPING}'" in capsys.readouterr().out
    assert main(["script", str(own)]) == 3
    [line] = capsys.readouterr().err.splitlines()
    why = f"a script needs torch alone, and the storage {DROPPING} is not torch's: replay it instead"
    assert line == f"dcp-stress: error: {why}"
    assert read_finding(own).no_script == why


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--storage=disk"], "--storage: there is no storage 'disk', only file_system, "),
        (["--storage=no_such:Storage"], "--storage: the storage no_such:Storage cannot be made: ModuleNotFoundError: "),
        (["--storage=memory", "--world=processes"], "--storage: memory keeps what is saved in one process, and here "),
        (["traverse", "--storage=memory"], "the law traverse is not of storages: leave out --storage"),
        (["damage", "--storage=memory"], "the law damage is not of storages: leave out --storage"),
        (["histories", "--storage=memory"], "the law histories is not of storages: leave out --storage"),
    ],
)
def test_wrong_use_ends_in_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dcp-stress: error: {says}")


@pytest.mark.parametrize("verb", ["replay", "script", "minimize"])
def test_scenario_on_a_storage_that_is_not_there_ends_in_one_line(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.json"
    path.write_text(Scenario(storage=DROPPING).to_json().replace(DROPPING, "no_such:Storage"))
    assert main([verb, str(path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "the storage no_such:Storage cannot be made: ModuleNotFoundError: No module named 'no_such'" in line
