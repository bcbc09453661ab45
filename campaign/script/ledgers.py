"""Scripts of the known issues of other things than scenarios: what comes of an entry on real ranks is written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from properties.history_issues import HISTORY_ISSUES, HistoryIssue, find_history_breaches, find_history_issue
from properties.judge_killed import judge_killed
from properties.judge_misuse import MisuseBreach, judge_misuse
from properties.judge_quantized import judge_quantized
from properties.judge_rebuilding import judge_rebuilding
from properties.judge_route import judge_route
from properties.judge_sequence import compare_caching
from properties.judge_side_by_side import SideBySideBreach
from properties.killed_issues import KILLED_ISSUES, KilledIssue
from properties.misuse_issues import MISUSE_ISSUES, MisuseIssue, find_misuse_issue
from properties.quantized_issues import QUANTIZED_ISSUES, QuantizedIssue
from properties.rebuilding_issues import REBUILDING_ISSUES, RebuildingIssue
from properties.route_entry import RouteIssue
from properties.route_issues import ROUTE_ISSUES
from properties.sequence_issues import SEQUENCE_ISSUES, SequenceIssue
from properties.side_by_side_issues import SIDE_BY_SIDE_ISSUES, SideBySideIssue, find_breach
from properties.training import (
    MISFIT_ISSUES,
    TRAINING_ISSUES,
    MisfitIssue,
    TrainingIssue,
    find_misfit_issue,
    find_training_issue,
    judge_training,
)
from properties.training.breach import TrainingBreach
from properties.training.judge_misfit import MisfitBreach, judge_misfit
from worlds import ProcessWorld, SimulatedWorld
from worlds.histories import History
from worlds.killed import KilledScenario
from worlds.misuses import Misuse
from worlds.processes.killed import run_killed
from worlds.processes.sequences import run_sequence
from worlds.quantized import Quantized
from worlds.rebuild import run_rebuilding
from worlds.rebuilding import Rebuilding
from worlds.routes import Route
from worlds.run_misuse import run_misuse
from worlds.run_quantized import run_quantized
from worlds.run_route import run_route
from worlds.sequences import SaveSequence
from worlds.side_by_side import SideBySide
from worlds.training import Training, run_training
from worlds.training.misfit import Misfit
from worlds.training.run_misfit import run_misfit

from .history import write_history_script
from .killed import write_killed_script
from .known import CannotWrite
from .misuse import write_misuse_script
from .quantized import write_quantized_script
from .rebuilding import write_rebuilding_script
from .route import write_route_script
from .sequence import write_sequence_script
from .side_by_side import write_side_by_side_script
from .training import write_training_script
from .training.misfit import write_misfit_script

__all__ = ["REAL_ISSUES", "RealCase", "RealIssue", "case_of", "write_case_script", "write_issue_script"]

RealIssue = (
    SequenceIssue
    | KilledIssue
    | HistoryIssue
    | RouteIssue
    | QuantizedIssue
    | RebuildingIssue
    | MisuseIssue
    | SideBySideIssue
    | TrainingIssue
    | MisfitIssue
)
"""An entry of a ledger of other things than scenarios."""

REAL_ISSUES: dict[str, RealIssue] = {
    **SEQUENCE_ISSUES,
    **KILLED_ISSUES,
    **HISTORY_ISSUES,
    **ROUTE_ISSUES,
    **QUANTIZED_ISSUES,
    **REBUILDING_ISSUES,
    **MISUSE_ISSUES,
    **SIDE_BY_SIDE_ISSUES,
    **TRAINING_ISSUES,
    **MISFIT_ISSUES,
}
"""The entries by their id."""

RealCase = (
    SaveSequence | KilledScenario | History | Route | Quantized | Rebuilding | Misuse | SideBySide | Training | Misfit
)
"""What such an entry is about."""

B = TypeVar("B")


def write_issue_script(issue: RealIssue, world: ProcessWorld) -> str:
    """The script of what ``issue`` is about; raises :class:`CannotWrite` where the installed torch does not show it."""
    matches = issue.matches if isinstance(issue, TrainingIssue | MisuseIssue | MisfitIssue) else None
    script = write_case_script(case_of(issue), world, matches)
    if script is None:
        raise CannotWrite(f"the installed torch does not show {issue.id}")
    return script


def case_of(issue: RealIssue) -> RealCase:
    """The minimal case of the entry."""
    match issue:
        case KilledIssue():
            return issue.killed
        case RouteIssue():
            return issue.route
        case QuantizedIssue():
            return issue.quantized
        case HistoryIssue():
            return issue.history
        case RebuildingIssue():
            return issue.rebuilding
        case MisuseIssue():
            return issue.misuse
        case SideBySideIssue():
            return issue.pair
        case TrainingIssue():
            return issue.training
        case MisfitIssue():
            return issue.misfit
    return issue.sequence


def write_case_script(case: RealCase, world: ProcessWorld, matches: Callable[[Any], bool] | None = None) -> str | None:
    """The script of what is wrong in a case; ``None`` where nothing is.

    Of what several things can be wrong with, a training, a wrong argument, or what does not fit, the first that
    ``matches``, or else the first that is new; of a history the first that is new, if any is.
    """
    match case:
        case KilledScenario():
            return _written(write_killed_script, judge_killed(case, run_killed(world, case)))
        case Route():
            return _written(write_route_script, judge_route(case, run_route(world, case)))
        case Quantized():
            return _written(write_quantized_script, judge_quantized(case, run_quantized(world, case)))
        case History():
            return _write_history(case, world)
        case Rebuilding():
            return _written(write_rebuilding_script, judge_rebuilding(case, run_rebuilding(world, case)))
        case Misuse():
            of_call = judge_misuse(case, run_misuse(world, case))
            return _written(write_misuse_script, next(filter(matches or _is_news, of_call), None))
        case SideBySide():
            return _written(write_side_by_side_script, _find_breach_of_pair(case, world))
        case Training():
            found = judge_training(case, run_training(world, case))
            return _written(write_training_script, next(filter(matches or _is_new, found), None))
        case Misfit():
            of_state = judge_misfit(case, run_misfit(world, case))
            return _written(write_misfit_script, next(filter(matches or _is_strange, of_state), None))
    plain, cached = (run_sequence(world, case, caching=caching) for caching in (False, True))
    return _written(write_sequence_script, compare_caching(case, plain, cached))


def _write_history(history: History, world: ProcessWorld) -> str | None:
    breaches = find_history_breaches(history, world)
    new = (breach for breach in breaches if find_history_issue(breach) is None)
    breach = next(new, breaches[0] if breaches else None)
    return None if breach is None else write_history_script(breach, world)


def _find_breach_of_pair(pair: SideBySide, world: ProcessWorld) -> SideBySideBreach | None:
    if pair.how != "one group":
        return find_breach(pair, world)
    # On real ranks it is a race whether the messages of the two cross. Here they do, as the script makes them do.
    with SimulatedWorld() as ordered:
        return find_breach(pair, ordered)


def _is_new(breach: TrainingBreach) -> bool:
    return find_training_issue(breach) is None


def _is_strange(breach: MisfitBreach) -> bool:
    return find_misfit_issue(breach) is None


def _is_news(breach: MisuseBreach) -> bool:
    return find_misuse_issue(breach) is None


def _written(write: Callable[[B], str], breach: B | None) -> str | None:
    return None if breach is None else write(breach)
