"""Scripts of histories on real processes: each ends with 1 where what was seen is there, and with 0 without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign.script.history import write_history_script
from properties.history_issues import find_history_breaches
from tests.known_scripts import REPAIRS
from tests.script_runs import Plant, run_script
from tests.script_texts import check_text
from worlds import Fault, Operation, SimulatedWorld, TensorEntry
from worlds.histories import History, Load, Save

pytestmark = pytest.mark.thorough

TWO = Operation(2)
SAYING = ("[rank 0] still in ",)
A, B = TensorEntry("a", (4,)), TensorEntry("b", (2,))


def script_of(history: History, world: SimulatedWorld) -> str:
    """That of the last of what is wrong."""
    script = write_history_script(find_history_breaches(history, world)[-1], world)
    check_text(script)
    return script


def check_runs(script: str, directory: Path, repair: Plant, *says: str) -> None:
    """It shows the bug, and says so; and does not where torch is repaired."""
    for name, plants in (("released", []), ("repaired", [repair])):
        (directory / name).mkdir()
        run = run_script(script, directory / name, plants=plants)
        assert run.status == 1 - len(plants), run.output
        assert all((text in run.output) != bool(plants) for text in says), run.output


def test_what_takes_no_history_has_the_script_of_a_scenario(world: SimulatedWorld, tmp_path: Path) -> None:
    """A save with what was used before, and without an entry, that fails wherever it goes."""
    fails = Save(
        "b", TWO, without=("b",), again=("writer", "planner"), faults=_unpicklable("save", "planner.finish_plan")
    )
    script = script_of(History((A, B), (Save("a", TWO), Load("a", TWO), fails)), world)
    assert script.count("dcp.save(") == 1
    check_runs(script, tmp_path, REPAIRS["unpicklable-exception"], *SAYING)


def test_load_that_takes_no_history_has_the_script_of_a_scenario(world: SimulatedWorld, tmp_path: Path) -> None:
    fails = Load("a", TWO, again=("reader", "planner"), faults=_unpicklable("load", "reader.read_data"))
    script = script_of(History((A, B), (Save("a", TWO), Load("a", TWO), fails)), world)
    assert (script.count("dcp.save("), script.count("dcp.load(")) == (1, 1)
    check_runs(script, tmp_path, REPAIRS["unpicklable-exception"], *SAYING)


def _unpicklable(of: str, hook: str) -> tuple[Fault, ...]:
    assert of in ("save", "load")
    return (Fault("save" if of == "save" else "load", 1, hook, "Unpicklable"),)
