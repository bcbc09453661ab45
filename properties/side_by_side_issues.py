"""The ledger of what goes wrong in released torch where one program saves to two places, and its check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from strategies.case_features import case_features
from worlds.entries import TensorEntry
from worlds.example import ExampleWorld
from worlds.operations import Operation, PlannerOptions
from worlds.run_side_by_side import run_side_by_side
from worlds.scenario import Scenario
from worlds.side_by_side import SideBySide

from .check import KNOWN_HITS
from .judge_side_by_side import SideBySideBreach, judge_side_by_side
from .judged import count_judged
from .ledger import LedgerEntry, first_match

__all__ = ["SIDE_BY_SIDE_ISSUES", "SideBySideIssue", "check_side_by_side", "find_breach", "find_side_by_side_issue"]


@dataclass(frozen=True, kw_only=True)
class SideBySideIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of two saves in one program."""

    pair: SideBySide
    matches: Callable[[SideBySideBreach], bool]


def check_side_by_side(pair: SideBySide, world: ExampleWorld) -> None:
    """Raise the violation if one save shows in the other, unless it is a known issue; that is counted."""
    __tracebackhide__ = True
    count_judged(case_features(pair))
    breach = find_breach(pair, world)
    if breach is None:
        return
    known = find_side_by_side_issue(breach)
    if known is None:
        breach.violation().throw()
    KNOWN_HITS[known.id] += 1


def find_breach(pair: SideBySide, world: ExampleWorld) -> SideBySideBreach | None:
    """Run the pair and judge it; where both cache their plans, say whether it is that."""
    breach = judge_side_by_side(pair, run_side_by_side(world, pair))
    if breach is None or not all(scenario.planner.enable_plan_caching for scenario in pair.both):
        return breach
    one, other = (_without_caching(scenario) for scenario in pair.both)
    uncached = replace(pair, one=one, other=other)
    goes = judge_side_by_side(uncached, run_side_by_side(world, uncached)) is None
    return replace(breach, goes_without_caching=goes)


def _without_caching(scenario: Scenario) -> Scenario:
    return replace(scenario, planner=replace(scenario.planner, enable_plan_caching=False))


def find_side_by_side_issue(breach: SideBySideBreach) -> SideBySideIssue | None:
    """The entry for the breach, if it is known for the installed torch."""
    return first_match(SIDE_BY_SIDE_ISSUES.values(), lambda issue: issue.matches(breach))


def _mixes_collectives(breach: SideBySideBreach) -> bool:
    """Over one group a save neither returns nor fails as it does alone, or has in its metadata what the other saves.

    Ranks wait, or gloo ends their process; and where each message is one that could be meant, on real ranks, none does.
    """
    if breach.pair.how != "one group":
        return False
    return not breach.together.save.returned or _has_records_of_the_other(breach)


def _has_records_of_the_other(breach: SideBySideBreach) -> bool:
    metadata = breach.together.metadata
    if metadata is None:
        return False
    own, other = breach.pair.both if breach.number == 0 else breach.pair.both[::-1]
    foreign = {unit.fqn for unit in other.units("save")} - {unit.fqn for unit in own.units("save")}
    tensors, stored = ({record.fqn for record in metadata.tensors}, {record.fqn for record in metadata.storage})
    return bool(foreign & {*tensors, *stored, *metadata.objects})


def _is_due_to_caching(breach: SideBySideBreach) -> bool:
    return breach.goes_without_caching


def _cached(members: tuple[int, ...]) -> Scenario:
    save, options = Operation(len(members), members=members), PlannerOptions(enable_plan_caching=True)
    return Scenario((TensorEntry("a"),), save, Operation(members=(0,)), planner=options)


_UPLOAD = Scenario(save=Operation(2, api="async"), load=Operation(members=(0,)))
_ISSUES = (
    SideBySideIssue(
        id="uploads-over-one-group",
        title="two uploads of async_save in flight at once over one process group take each other's messages",
        loses="a job that begins a checkpoint before the last one is written hangs, is killed from within gloo, or "
        "has metadata of the one in the other, in silence",
        pair=SideBySide(_UPLOAD, _UPLOAD, "one group"),
        matches=_mixes_collectives,
    ),
    SideBySideIssue(
        id="caching-across-saves",
        title="with enable_plan_caching, what a process remembers of the save of one state is taken for another one's",
        loses="a program that saves two states, as a model and its average, loses entries, fails or hangs",
        pair=SideBySide(_cached((0,)), _cached((0, 1))),
        matches=_is_due_to_caching,
    ),
)

SIDE_BY_SIDE_ISSUES: dict[str, SideBySideIssue] = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
