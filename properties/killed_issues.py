"""The ledger of what goes wrong in released torch when ranks die, and the check that knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from strategies.case_features import case_features
from worlds import Operation, ProcessWorld, Scenario, TensorEntry
from worlds.killed import Kill, KilledScenario
from worlds.layouts import ChunkSharding
from worlds.outcome import Outcome
from worlds.processes.killed import run_killed

from .check import KNOWN_HITS
from .judge import judge_load
from .judge_killed import EarlierChanged, KilledBreach, MixedCheckpoint, judge_killed
from .judged import count_judged
from .known_issues import find_known_issue
from .ledger import LedgerEntry, first_match

__all__ = ["KILLED_ISSUES", "KilledIssue", "check_killed", "find_killed_issue"]


@dataclass(frozen=True, kw_only=True)
class KilledIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of a scenario in which ranks die."""

    killed: KilledScenario
    matches: Callable[[KilledBreach], bool]


def check_killed(killed: KilledScenario, world: ProcessWorld) -> None:
    """Raise the violation if a law breaks when those ranks die, unless it is a known issue; that is counted."""
    __tracebackhide__ = True
    count_judged(case_features(killed))
    breach = judge_killed(killed, run_killed(world, killed))
    if breach is None:
        return
    known = find_killed_issue(breach)
    if known is None:
        breach.violation().throw()
    KNOWN_HITS[known.id] += 1


def find_killed_issue(breach: KilledBreach) -> LedgerEntry | None:
    """The entry for the breach, if it is known for the installed torch; also one that needs nobody to die."""
    known: LedgerEntry | None = first_match(KILLED_ISSUES.values(), lambda issue: issue.matches(breach))
    return known or _known_of_later(breach)


def _known_of_later(breach: KilledBreach) -> LedgerEntry | None:
    """Where ranks died loading, and a later load fails: why, if the entry says that a load of that checkpoint does."""
    outcome = breach.outcome
    if breach.kind is not EarlierChanged or outcome.earlier_changed or outcome.later is None:
        return None
    return find_known_issue(judge_load(breach.killed.scenario, Outcome(outcome.before, outcome.later)))


def _mixes_saves_at_one_path(breach: KilledBreach) -> bool:
    killed = breach.killed
    return breach.kind is MixedCheckpoint and killed.operation == "save" and killed.path == "same"


_HALVES = ChunkSharding(0, (0, 1))
_ISSUES = (
    KilledIssue(
        id="mixed-after-death",
        title="a save over an earlier checkpoint overwrites its files in place: a rank that dies leaves a mixture",
        loses="a job that restarts from there loads, without any error, weights that are in part of another step",
        killed=KilledScenario(
            Scenario((TensorEntry("a", (2,), saved=_HALVES),), Operation(2)),
            (Kill(0, "writer.write_data"),),
            path="same",
        ),
        matches=_mixes_saves_at_one_path,
    ),
)

KILLED_ISSUES: dict[str, KilledIssue] = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
