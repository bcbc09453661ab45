"""What the scripts of what only real ranks show say: saves that follow each other, and ranks that die."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from campaign.script import CannotWrite
from campaign.script.killed import write_killed_script
from campaign.script.ledgers import REAL_ISSUES, RealIssue, write_issue_script
from campaign.script.sequence import write_sequence_script
from properties.judge_sequence import SequenceBreach
from properties.ledger import torch_release
from properties.sequence_issues import SEQUENCE_ISSUES
from tests.script_texts import KILLED, SAVED, check_text, mixture
from worlds import Fault, Nested, Operation, ProcessWorld, Scenario, SimulatedWorld, TensorEntry
from worlds.killed import Kill, KilledScenario
from worlds.sequences import SaveSequence


@pytest.mark.parametrize("issue", REAL_ISSUES.values(), ids=lambda issue: issue.id)
def test_known_issue_of_real_ranks_has_a_short_script(issue: RealIssue, processes: ProcessWorld) -> None:
    if not issue.is_of(torch_release()):
        pytest.skip("this torch does not have it")
    script = write_issue_script(issue, processes)
    check_text(script)
    assert issue.title.split()[0] in script
    assert len(script.splitlines()) < 120


def test_known_issue_that_does_not_show_has_no_script(processes: ProcessWorld) -> None:
    issue = SEQUENCE_ISSUES["cached-plan-dtype"]
    same = replace(issue, sequence=SaveSequence(issue.sequence.steps[:1] * 2))
    with pytest.raises(CannotWrite, match=r"^the installed torch does not show cached-plan-dtype$"):
        write_issue_script(same, processes)


def test_script_of_a_sequence_saves_all_that_comes_before(world: SimulatedWorld) -> None:
    """Each to a path of its own, and with caching; the last one is the one that is judged."""
    lost = replace(world.run(SAVED), metadata=None)
    script = write_sequence_script(SequenceBreach("", SaveSequence((SAVED, SAVED, SAVED)), 2, lost, lost))
    check_text(script)
    paths = re.findall(r"^    checkpoint_id=(.*),$", script, re.MULTILINE)
    assert paths == ['f"{path}/0"', 'f"{path}/1"', "path"]
    assert script.count("enable_plan_caching=True") == 3


def test_sequence_whose_last_save_breaks_no_law_is_refused(world: SimulatedWorld) -> None:
    outcome = world.run(SAVED)
    with pytest.raises(CannotWrite, match=r"^there is no script for a save that breaks no law, and differs from"):
        write_sequence_script(SequenceBreach("", SaveSequence((SAVED, SAVED)), 1, outcome, outcome))


def test_save_that_is_to_fail_before_the_last_one_does_not_end_the_script(world: SimulatedWorld) -> None:
    failing = replace(SAVED, faults=(Fault("save", 0, "writer.finish"),))
    lost = replace(world.run(SAVED), metadata=None)
    script = write_sequence_script(SequenceBreach("", SaveSequence((failing, SAVED)), 1, lost, lost))
    check_text(script)
    assert script.count("FailingWriter(") == 2, "its class, and one use"
    assert script.index("except dcp.CheckpointException") < script.index("checkpoint_id=path,")


def test_ranks_die_where_they_are_to() -> None:
    after, both = map(write_killed_script, map(mixture, KILLED))
    check_text(after)
    assert "result = super().write_data(plan, planner)\n        if dist.get_rank() == 1:\n            die()" in after
    check_text(both)
    assert "run(path, 0, dcp.DefaultSavePlanner, dcp.FileSystemWriter)" in both
    assert "run(path, 1, DyingPlanner, DyingWriter)" in both


@pytest.mark.parametrize(
    ("killed", "says"),
    [
        (KilledScenario(SAVED, (Kill(1, "writer.write_data"),)), "what ranks that die leave"),
        (
            KilledScenario(SAVED, (Kill(1, "file.write", 9),), path="same"),
            r"dies as in Kill\(1, 'file.write', skip=9\)",
        ),
        (KilledScenario(replace(SAVED, save=Operation(2, members=(0, 2))), path="same"), "in a sub-group"),
        (KilledScenario(Scenario((Nested("a"),)), path="same"), "saves containers"),
        (KilledScenario(Scenario((TensorEntry("a", dtype="bits8"),)), path="same"), "saves a tensor of bits8"),
    ],
)
def test_death_that_no_script_shows_is_refused_in_one_line(killed: KilledScenario, says: str) -> None:
    with pytest.raises(CannotWrite, match=f"^there is no script yet .*{says}.*$"):
        write_killed_script(mixture(killed))
