"""The ledgers against the installed torch: what the minimal case of an entry shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from properties.check import check
from properties.damage_issues import DamageIssue, check_damaged
from properties.history_issues import HistoryIssue, check_history
from properties.killed_issues import KilledIssue, check_killed
from properties.known_issues import ForeignIssue, KnownIssue
from properties.ledger import LedgerEntry, torch_release
from properties.misuse_issues import MisuseIssue, check_misuse
from properties.planning.check import check_plan
from properties.planning.known_issues import PlanningIssue
from properties.quantized_issues import QuantizedIssue, check_quantized
from properties.rebuilding_issues import RebuildingIssue, check_rebuilding
from properties.route_entry import RouteIssue
from properties.route_issues import check_route
from properties.sequence_issues import SequenceIssue, check_sequence
from properties.side_by_side_issues import SideBySideIssue, check_side_by_side
from properties.summary import ENTRIES
from properties.training import MisfitIssue, TrainingIssue, check_misfit, check_training

from .opened import OpenedWorlds
from .seen import Seen, look
from .status import Refused

__all__ = ["STATES", "EntryState", "State", "can_run", "compare_entry", "entry_named", "show_entry"]

State = Literal["open", "fixed", "not reproduced", "not for this torch", "open again", "not run"]

STATES: dict[State, str] = {
    "open": "the installed torch shows it",
    "fixed": "the laws hold: set fixed_in of the entry",
    "not reproduced": "something else is seen: see to the entry",
    "not for this torch": "the ledger says that this release is free of it, and it is, or has not what it takes",
    "open again": "the ledger says that this release is free of it, and it is not",
    "not run": "its case cannot be run here",
}
"""What an entry can be, and what that means."""


@dataclass(frozen=True)
class EntryState:
    """An entry of a ledger, and what it is in the installed torch."""

    entry: LedgerEntry
    state: State
    seen: str = ""
    """What was seen, in one line, where that is another thing than the entry says."""

    @property
    def is_right(self) -> bool:
        """Whether the ledger says of the installed torch what is true."""
        return self.state in ("open", "not for this torch", "not run")


def entry_named(name: str) -> LedgerEntry:
    """The entry of that id, of any ledger."""
    if name not in ENTRIES:
        raise Refused(f"there is no known issue {name!r}: `dcp-stress known` lists them")
    return ENTRIES[name]


def can_run(entry: LedgerEntry) -> bool:
    """Whether what its case takes is installed: the entries of storages from elsewhere need their packages."""
    return not isinstance(entry, ForeignIssue) or entry.is_here


def show_entry(entry: LedgerEntry, opened: OpenedWorlds) -> Seen:
    """What the law says of the entry's minimal case; those that need real ranks get them."""
    return look(lambda: _judge(entry, opened))


def _judge(entry: LedgerEntry, opened: OpenedWorlds) -> None:
    match entry:
        case KnownIssue() | ForeignIssue():
            check(entry.scenario, opened.world)
        case DamageIssue():
            check_damaged(entry.scenario, opened.world)
        case TrainingIssue():
            check_training(entry.training, opened.world)
        case HistoryIssue():
            check_history(entry.history, opened.example_world)
        case RouteIssue():
            check_route(entry.route, opened.example_world)
        case MisuseIssue():
            check_misuse(entry.misuse, opened.example_world)
        case MisfitIssue():
            check_misfit(entry.misfit, opened.example_world)
        case QuantizedIssue():
            check_quantized(entry.quantized, opened.example_world)
        case RebuildingIssue():
            check_rebuilding(entry.rebuilding, opened.example_world)
        case SideBySideIssue():
            check_side_by_side(entry.pair, opened.example_world)
        case KilledIssue():
            check_killed(entry.killed, opened.processes)
        case SequenceIssue():
            check_sequence(entry.sequence, opened.processes)
        case PlanningIssue():
            for judge, case in entry.shown_by:
                check_plan(judge, case)
        case _:
            raise TypeError(f"no law judges the entry {entry.id}")


def compare_entry(entry: LedgerEntry, opened: OpenedWorlds) -> EntryState:
    """What the entry is in the installed torch."""
    if not entry.is_of(torch_release()):
        return EntryState(entry, "not for this torch")
    try:
        seen = show_entry(entry, opened)
    except Exception as error:  # whatever it is, the others are to be looked at
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return EntryState(entry, "not run", line[:200])
    if not entry.affects(torch_release()):
        # What is not known for this torch is raised as a violation.
        return EntryState(entry, "not for this torch" if seen.violation is None else "open again")
    if entry.id in seen.known:
        return EntryState(entry, "open")
    return EntryState(entry, "fixed" if seen.holds else "not reproduced", seen.headline)
