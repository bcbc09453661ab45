"""Scripts in which operations on files fail do as the world does: the same call, the same error, the same verdict."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from campaign.script import CannotWrite, write_script
from campaign.script.history import write_history_script
from properties import judge
from properties.history_issues import find_history_breaches
from tests.script_bugs import BUGS, planted_here
from tests.script_files import BOTH, CALLS, FAIL, MIXED, ONE, PARTLY, TORN, TWO
from tests.script_runs import run_script
from tests.script_texts import check_text
from worlds import (
    FileFault,
    Scenario,
    SimulatedWorld,
    WriterOptions,
)
from worlds.errors import RAISES_NOTHING
from worlds.file_faults import file_errors
from worlds.histories import History, Save


def check_here(scenario: Scenario, world: SimulatedWorld) -> bool:
    """Its script, run in this process, agrees with the verdict that all is right; whether a fault was reached."""
    outcome = world.run(scenario)
    verdict = judge(scenario, outcome)
    verdict.raise_for_violation()
    script = write_script(verdict)
    check_text(script)
    exec(compile(script, "reproduce.py", "exec"), {"__name__": "__main__"})  # which exits, or raises, where it does not
    return bool(outcome.save.hits or (outcome.load is not None and outcome.load.hits))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a script that runs in this process puts what it saves."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize(("operation", "call"), CALLS)
def test_script_fails_at_the_same_call(operation: Literal["save", "load"], call: str, world: SimulatedWorld) -> None:
    """As often as there are calls, and at none behind them, where neither of the two fails."""
    earlier: Literal["nothing", "coordinated"] = "coordinated" if call == "metadata.remove" else "nothing"
    over = replace(ONE, earlier=earlier)
    faults = (FileFault(operation, 0, call, skip=number) for number in range(200))
    reached = itertools.takewhile(lambda fault: check_here(replace(over, file_faults=(fault,)), world), faults)
    assert 0 < len(list(reached)) < 200
    for error in set(file_errors(call)) - {"EIO", *RAISES_NOTHING}:
        assert check_here(replace(over, file_faults=(FileFault(operation, 0, call, error),)), world)


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("faults", PARTLY)
def test_script_does_a_part_of_the_work_at_the_same_call(faults: tuple[FileFault, ...], world: SimulatedWorld) -> None:
    assert check_here(replace(ONE, file_faults=faults), world)


@pytest.mark.usefixtures("temporary")
def test_script_does_not_sync_what_is_not_synced(world: SimulatedWorld) -> None:
    fault = FileFault("save", 0, "data.fsync")
    assert not check_here(replace(ONE, writer=WriterOptions(), file_faults=(fault,)), world)


@pytest.mark.thorough
@pytest.mark.parametrize("name", FAIL)
def test_real_ranks_fail_as_those_of_the_world(name: str, world: SimulatedWorld, tmp_path: Path) -> None:
    verdict = judge(FAIL[name], world.run(FAIL[name]))
    verdict.raise_for_violation()
    assert verdict.outcome.save.hits or (verdict.outcome.load is not None and verdict.outcome.load.hits)
    run = run_script(write_script(verdict), tmp_path)
    assert run.status == 0, run.output


@pytest.mark.thorough
@pytest.mark.parametrize("name", MIXED)
def test_script_shows_what_a_history_mixes(name: str, world: SimulatedWorld, tmp_path: Path) -> None:
    (breach,) = find_history_breaches(MIXED[name], world)
    script = write_history_script(breach, world)
    check_text(script)
    run = run_script(script, tmp_path)
    assert run.status == 1, run.output
    last = len(breach.history.steps) - 2
    assert f"with what was saved at the steps {{{last}.0, {last + 1}.0}}" in run.output
    failed = sum(not step.operation.returned for step in breach.outcome.steps)
    assert run.output.count("as it must, a save fails") == 2 * failed, "each on both ranks"


BLAMES = {
    "over a save of the same job": (Save("a", TWO), Save("a", TWO, file_faults=(FileFault("save", 1, "data.close"),))),
    "over a save of another job": (
        Save(),
        Save("b", TWO),
        Save("a", TWO, file_faults=(FileFault("save", 1, "data.seek"), FileFault("save", 0, "metadata.remove"))),
    ),
    "after one that failed": (
        Save("b", TWO, file_faults=(FileFault("save", 0, "metadata.rename"),)),
        Save("a", TWO, file_faults=(FileFault("save", 1, "data.open", "EPERM"),)),
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", BLAMES)
def test_script_shows_a_planted_bug_of_a_history(name: str, world: SimulatedWorld, tmp_path: Path) -> None:
    """And passes where torch has not that bug, since what is expected depends on the script alone."""
    bug = next(bug for bug in BUGS if bug.id == "the next rank blamed")
    history = History((TORN,), BLAMES[name])
    assert not find_history_breaches(history, world)
    with planted_here(bug):
        script = write_history_script(find_history_breaches(history, world)[-1], world)
    check_text(script)
    for place, plants in (("with", [bug.plant]), ("without", [])):
        (tmp_path / place).mkdir()
        run = run_script(script, tmp_path / place, plants=plants)
        assert run.status == len(plants), run.output
        assert ("naming ranks [0, 1]" in run.output) == bool(plants), run.output


FSSPEC = replace(BOTH, storage="fsspec", writer=WriterOptions(), file_faults=(FileFault("save", 0, "data.write"),))
REFUSED = [
    (FSSPEC, "operations on files that fail on 'fsspec' yet"),
    (replace(ONE, file_faults=(FileFault("save", 0, "data.fsync", "lost"),)), r"data\.fsync fails \(lost\) yet"),
    (
        replace(
            ONE, file_faults=(FileFault("save", 0, "data.write", "full"), FileFault("save", 0, "data.write", skip=9))
        ),
        "a disk that becomes full beside another failure of that call yet",
    ),
]


@pytest.mark.parametrize(("scenario", "says"), REFUSED)
def test_what_a_script_cannot_do_is_refused_in_one_line(scenario: Scenario, says: str, world: SimulatedWorld) -> None:
    with pytest.raises(CannotWrite, match=f"^there is no script for .*{says}$"):
        write_script(judge(scenario, world.run(scenario)))
