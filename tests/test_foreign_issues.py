"""The ledger of storages from elsewhere: each entry is shown where its storage can be had, and by its script."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from campaign.cli import main
from campaign.planted.bug import plant
from campaign.planted.catalogue import CATALOGUE
from properties import judge
from properties.known_issues import FOREIGN_ISSUES, KNOWN_ISSUES, ForeignIssue, find_known_issue
from properties.verdict import Verdict
from worlds import ObjectEntry, Scenario, SimulatedWorld, WriterOptions
from worlds.layouts import Plain

ISSUES = pytest.mark.parametrize("issue", FOREIGN_ISSUES.values(), ids=lambda issue: issue.id)


def _needs(issue: ForeignIssue) -> None:
    if not issue.is_here:
        pytest.skip(f"takes the package {issue.package}")


@ISSUES
def test_minimal_scenario_shows_the_issue_on_its_storage_alone(issue: ForeignIssue, world: SimulatedWorld) -> None:
    assert judge(issue.plain, world.run(issue.plain)), "torch's own files have it not"
    _needs(issue)
    verdict: Verdict = judge(issue.scenario, world.run(issue.scenario))
    assert not verdict, f"what is installed no longer shows it: take {issue.id!r} out of the ledger, or say until when"
    assert find_known_issue(verdict) is issue, verdict.violation()
    assert find_known_issue(replace(verdict, scenario=issue.plain)) is None


@ISSUES
def test_script_shows_it_too(issue: ForeignIssue, tmp_path: Path) -> None:
    path = tmp_path / "reproduce.py"
    assert main(["script", issue.id, "-o", str(path)]) == 0
    assert path.read_text() == issue.script
    compile(issue.script, issue.id, "exec")
    _needs(issue)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.partition(": ")[0]) == (1, "still there"), done.stdout + done.stderr


_ONE_NAME = FOREIGN_ISSUES["s3-one-name-for-all-ranks"]


def _with_bugs(scenario: Scenario, world: SimulatedWorld, *bugs: str) -> Verdict:
    """What is said of the file system's storage with those bugs of the catalogue."""
    with ExitStack() as stack:
        for bug in bugs:
            stack.enter_context(plant(CATALOGUE[bug]))
        return judge(scenario, world.run(scenario))


def _is_one_name(verdict: Verdict) -> bool:
    assert verdict.breach is not None
    assert all(file.name.startswith("__0_") for file in verdict.outcome.files or ())
    return _ONE_NAME.failure(verdict, verdict.breach)


_SAME_FILES = "ranks-that-save-without-collectives-given-same-files"


@pytest.mark.parametrize("single", [True, False])
def test_file_system_that_gives_one_name_to_all_ranks_shows_the_same_failure(
    single: bool, world: SimulatedWorld
) -> None:
    scenario = replace(_ONE_NAME.plain, writer=WriterOptions(single))
    assert _is_one_name(_with_bugs(scenario, world, _SAME_FILES))


def test_one_rank_that_alone_has_written_is_another_failure(world: SimulatedWorld) -> None:
    """Its files have the names that they should have, whatever is wrong with them."""
    entry = ObjectEntry("a", saved=Plain((0,)), loaded=Plain((0,)))
    scenario = replace(_ONE_NAME.plain, entries=(entry,), writer=WriterOptions(False))
    assert not _is_one_name(_with_bugs(scenario, world, "last-byte-of-object-not-written"))


def test_metadata_that_are_not_there_are_another_failure(world: SimulatedWorld) -> None:
    """Each rank has its own, so that no rank fails before it reads what is in the files."""
    bugs = _SAME_FILES, "own-metadata-in-place-of-the-whole"
    assert not _is_one_name(_with_bugs(_ONE_NAME.plain, world, *bugs))


def test_last_rank_that_cannot_read_what_it_wrote_either_is_another_failure(world: SimulatedWorld) -> None:
    bugs = _SAME_FILES, "last-byte-of-object-not-written"
    entries = (ObjectEntry("a"),)
    assert not _is_one_name(_with_bugs(replace(_ONE_NAME.plain, entries=entries), world, *bugs))


def test_ids_are_in_one_ledger_alone() -> None:
    assert not set(FOREIGN_ISSUES) & set(KNOWN_ISSUES)
