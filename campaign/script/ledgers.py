"""Scripts of the known issues of other things than scenarios: what comes of an entry on real ranks is written out."""

from __future__ import annotations

from typing import TypeVar

from properties.history_issues import HISTORY_ISSUES, HistoryIssue, find_history_breaches
from properties.judge_killed import judge_killed
from properties.judge_rebuilding import judge_rebuilding
from properties.judge_route import judge_route
from properties.judge_sequence import compare_caching
from properties.killed_issues import KILLED_ISSUES, KilledIssue
from properties.rebuilding_issues import REBUILDING_ISSUES, RebuildingIssue
from properties.route_entry import RouteIssue
from properties.route_issues import ROUTE_ISSUES
from properties.sequence_issues import SEQUENCE_ISSUES, SequenceIssue
from properties.side_by_side_issues import SIDE_BY_SIDE_ISSUES, SideBySideIssue, find_breach
from properties.training import TRAINING_ISSUES, TrainingIssue, judge_training
from worlds import ProcessWorld
from worlds.processes.killed import run_killed
from worlds.processes.sequences import run_sequence
from worlds.rebuild import run_rebuilding
from worlds.run_route import run_route
from worlds.training import run_training

from .history import write_history_script
from .killed import write_killed_script
from .known import CannotWrite
from .rebuilding import write_rebuilding_script
from .route import write_route_script
from .sequence import write_sequence_script
from .side_by_side import write_side_by_side_script
from .training import write_training_script

__all__ = ["REAL_ISSUES", "RealIssue", "write_issue_script"]

RealIssue = SequenceIssue | KilledIssue | HistoryIssue | RouteIssue | RebuildingIssue | SideBySideIssue | TrainingIssue
"""An entry of a ledger of other things than scenarios."""

REAL_ISSUES: dict[str, RealIssue] = {
    **SEQUENCE_ISSUES,
    **KILLED_ISSUES,
    **HISTORY_ISSUES,
    **ROUTE_ISSUES,
    **REBUILDING_ISSUES,
    **SIDE_BY_SIDE_ISSUES,
    **TRAINING_ISSUES,
}
"""The entries by their id."""

B = TypeVar("B")


def write_issue_script(issue: RealIssue, world: ProcessWorld) -> str:
    """The script of what ``issue`` is about; raises :class:`CannotWrite` where the installed torch does not show it."""
    if isinstance(issue, KilledIssue):
        return write_killed_script(_shown(issue, judge_killed(issue.killed, run_killed(world, issue.killed))))
    if isinstance(issue, RouteIssue):
        return write_route_script(_shown(issue, judge_route(issue.route, run_route(world, issue.route))))
    if isinstance(issue, HistoryIssue):
        return write_history_script(_shown(issue, next(iter(find_history_breaches(issue.history, world)), None)))
    if isinstance(issue, RebuildingIssue):
        outcome = run_rebuilding(world, issue.rebuilding)
        return write_rebuilding_script(_shown(issue, judge_rebuilding(issue.rebuilding, outcome)))
    if isinstance(issue, SideBySideIssue):
        return write_side_by_side_script(_shown(issue, find_breach(issue.pair, world)))
    if isinstance(issue, TrainingIssue):
        found = judge_training(issue.training, run_training(world, issue.training))
        return write_training_script(_shown(issue, next(filter(issue.matches, found), None)))
    plain, cached = (run_sequence(world, issue.sequence, caching=caching) for caching in (False, True))
    return write_sequence_script(_shown(issue, compare_caching(issue.sequence, plain, cached)))


def _shown(issue: RealIssue, breach: B | None) -> B:
    if breach is None:
        raise CannotWrite(f"the installed torch does not show {issue.id}")
    return breach
