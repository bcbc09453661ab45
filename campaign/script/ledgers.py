"""Scripts of the known issues that only real ranks show: what comes of an entry there is written out."""

from __future__ import annotations

from typing import TypeVar

from properties.judge_killed import judge_killed
from properties.judge_sequence import compare_caching
from properties.killed_issues import KILLED_ISSUES, KilledIssue
from properties.sequence_issues import SEQUENCE_ISSUES, SequenceIssue
from worlds import ProcessWorld
from worlds.processes.killed import run_killed
from worlds.processes.sequences import run_sequence

from .killed import write_killed_script
from .known import CannotWrite
from .sequence import write_sequence_script

__all__ = ["REAL_ISSUES", "RealIssue", "write_issue_script"]

RealIssue = SequenceIssue | KilledIssue
"""An entry of a ledger of real ranks."""

REAL_ISSUES: dict[str, RealIssue] = {**SEQUENCE_ISSUES, **KILLED_ISSUES}
"""The entries by their id."""

B = TypeVar("B")


def write_issue_script(issue: RealIssue, world: ProcessWorld) -> str:
    """The script of what ``issue`` is about; raises :class:`CannotWrite` where the installed torch does not show it."""
    if isinstance(issue, KilledIssue):
        return write_killed_script(_shown(issue, judge_killed(issue.killed, run_killed(world, issue.killed))))
    plain, cached = (run_sequence(world, issue.sequence, caching=caching) for caching in (False, True))
    return write_sequence_script(_shown(issue, compare_caching(issue.sequence, plain, cached)))


def _shown(issue: RealIssue, breach: B | None) -> B:
    if breach is None:
        raise CannotWrite(f"the installed torch does not show {issue.id}")
    return breach
