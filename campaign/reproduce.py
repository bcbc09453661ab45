"""From an entry of a ledger, or a case, to the script that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

from properties import judge
from properties.damage_issues import DamageIssue
from properties.known_issues import ForeignIssue, KnownIssue
from properties.ledger import LedgerEntry
from properties.planning.known_issues import PlanningIssue
from properties.verdict import Verdict
from worlds import Operation, Scenario, Schedule, SimulatedWorld

from .opened import OpenedWorlds
from .script import CannotWrite, write_script
from .script.ledgers import RealCase, RealIssue, write_case_script, write_issue_script
from .script.planning import write_planning_script

__all__ = ["script_of_case", "script_of_entry"]

_NOTE = (
    "note: this was seen with ranks in one order only, and processes run in an order of their own: "
    "the script may not show it each time"
)


def script_of_entry(entry: LedgerEntry, opened: OpenedWorlds, tell: Callable[[str], None]) -> str:
    """The script of an entry; raises :class:`CannotWrite`, with one line, where there is none."""
    if isinstance(entry, ForeignIssue):
        return entry.script
    if isinstance(entry, PlanningIssue):
        return write_planning_script(entry)
    if isinstance(entry, RealIssue):
        return write_issue_script(entry, opened.processes)
    if isinstance(entry, KnownIssue | DamageIssue):
        return _script_of_scenario(entry.scenario, opened.simulated, tell)
    raise CannotWrite(f"there is no script for entries of the kind {type(entry).__name__} yet")


def script_of_case(case: object, opened: OpenedWorlds, tell: Callable[[str], None]) -> str:
    """The script of what is wrong in a case, as :func:`script_of_entry`; of a scenario, also that all is well."""
    if isinstance(case, Scenario):
        return _script_of_scenario(case, opened.simulated, tell)
    if not isinstance(case, get_args(RealCase)):
        raise CannotWrite(f"there is no script for a {type(case).__name__} yet")
    script = write_case_script(case, opened.processes)
    if script is None:
        raise CannotWrite("real ranks of the installed torch do not show it")
    return script


def _script_of_scenario(scenario: Scenario, world: SimulatedWorld, tell: Callable[[str], None]) -> str:
    """The script; tells where processes may not show what it is to show."""
    verdict = _run(scenario, world)
    script = write_script(verdict)
    if not verdict and not _holds_in_any_order(verdict, world):
        tell(_NOTE)
    return script


def _run(scenario: Scenario, world: SimulatedWorld) -> Verdict:
    return judge(scenario, world.run(scenario))


def _holds_in_any_order(verdict: Verdict, world: SimulatedWorld) -> bool:
    """Whether the ranks' natural order shows it as well, where the scenario asks for another one."""
    scenario = verdict.scenario
    natural = replace(scenario, save=_in_order(scenario.save), load=_in_order(scenario.load))
    if natural == scenario:
        return True
    breach = _run(natural, world).breach
    return breach is not None and verdict.breach is not None and breach.kind is verdict.breach.kind


def _in_order(operation: Operation) -> Operation:
    return replace(operation, schedule=Schedule(threads_first=operation.schedule.threads_first))
