"""The ledger of storages from elsewhere: each entry is shown where its storage can be had, and by its script."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from campaign.cli import main
from properties import judge
from properties.known_issues import FOREIGN_ISSUES, KNOWN_ISSUES, ForeignIssue, find_known_issue
from properties.verdict import Verdict
from worlds import SimulatedWorld

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


def test_ids_are_in_one_ledger_alone() -> None:
    assert not set(FOREIGN_ISSUES) & set(KNOWN_ISSUES)
