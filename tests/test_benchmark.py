"""The benchmark as a user runs it: every column is measured, the table is printed, and bad options end in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.warm_python import ROOT, run_python
from worlds import SimulatedWorld
from worlds.benchmark.columns import COLUMNS, Column
from worlds.benchmark.cost import Cost
from worlds.benchmark.example import Failed, benchmark_scenario
from worlds.benchmark.floor import Floor
from worlds.benchmark.table import cost_table, ratio_lines
from worlds.outcome import Returned


@pytest.mark.commands
@pytest.mark.thorough
def test_every_column_is_measured() -> None:
    pytest.importorskip("expecttest")
    command = [sys.executable, "-m", "worlds.benchmark", "--examples=1", "--world-sizes=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    header = next(line for line in lines if line.startswith("ms per example"))
    assert header.split()[-2:] == ["world", "1"]
    for column in COLUMNS:
        row = next(line for line in lines if line.startswith(column.title))
        figures = row.removeprefix(column.title).replace("/", " ").split()
        assert len([figure for figure in figures if float(figure) > 0]) == 2, row


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only=simulatd"], "there is no column 'simulatd', only simulated, run, threads, processes, pool, floor"),
        (["--examples=0"], "'0' is not a whole number from 1 on"),
        (["--world-sizes=2,x"], "'x' is not a whole number from 1 on"),
    ],
)
def test_bad_option_ends_in_one_line(arguments: list[str], message: str) -> None:
    done = run_python("-m", "worlds.benchmark", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert message in line


def test_missing_package_ends_in_one_line() -> None:
    with pytest.raises(Failed, match=r"^a column needs the package no_such_package: pip install no_such_package, or"):
        Column("column", "a column", "threads", needs="no_such_package").require()


def test_floor_does_what_the_simulated_world_does() -> None:
    """The floor is a lower bound only as long as it leaves out nothing that DCP does to the tensors."""
    scenario = benchmark_scenario(3)
    with Floor(scenario) as floor, SimulatedWorld() as world:
        floor.run()
        outcome = world.run(scenario)
        assert outcome.load is not None
        for observed, rank in zip(floor.observe(), outcome.load.ranks, strict=True):
            assert isinstance(rank, Returned)
            assert observed == rank.state


def test_table_and_ratios() -> None:
    columns = [column for column in COLUMNS if column.name in ("simulated", "processes", "threads", "floor")]
    costs = {(column.name, 4): Cost(10.0 * place, 20.0 * place) for place, column in enumerate(columns, start=1)}
    assert cost_table(columns, [4], 50, costs) == [
        "ms per example: wall / CPU                     world 4",
        "simulated world                            10.0 / 20.0",
        "torch's MultiThreadedTestCase              20.0 / 40.0",
        "torch's MultiProcessTestCase (3 examples)  30.0 / 60.0",
        "floor: planner and storage calls alone     40.0 / 80.0",
    ]
    assert ratio_lines(costs) == [
        "world 4: MultiThreadedTestCase / simulated, wall: 2.00 (wanted: >= 3)",
        "world 4: simulated / floor, CPU: 0.25 (wanted: <= 2.5, aim: 2)",
    ]
