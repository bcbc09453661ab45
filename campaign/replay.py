"""A case again, in any world: whether it shows what it showed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from properties.check import check
from properties.damage_issues import check_damaged
from properties.ledger import LedgerEntry
from worlds import Scenario

from .entries import show_entry
from .finding import Finding, State, see_again
from .grouping import group_of
from .laws import all_laws
from .opened import OpenedWorlds
from .seen import Seen, look
from .status import DIFFERENT, NEWS, NOTHING

__all__ = ["Answer", "again", "sight"]

_STATUS: dict[State, int] = {"still there": NEWS, "fixed": NOTHING, "different": DIFFERENT}


@dataclass(frozen=True)
class Answer:
    """What a case shows now, in a word, and what was seen."""

    state: State
    text: str

    @property
    def status(self) -> int:
        """The exit status that says so."""
        return _STATUS[self.state]


def again(what: LedgerEntry | Finding | Scenario, opened: OpenedWorlds) -> Answer:
    """Run it once more."""
    match what:
        case LedgerEntry():
            seen = show_entry(what, opened)
            return _answer(seen, still=what.id in seen.known)
        case Finding():
            return Answer(*see_again(what, opened))
    judge = check_damaged if what.damages else check
    seen = look(lambda: judge(what, opened.world))
    return _answer(seen, still=not seen.holds)


def sight(what: Finding | Scenario, case: Any, opened: OpenedWorlds) -> str:
    """What the law that ``what`` is judged by sees in a case, in so few words that the same bug has the same ones.

    Nothing where all is well.
    """
    if isinstance(what, Finding):
        name, law = what.law, all_laws()[what.law]
        seen = look(lambda: law.judge(case, opened))
    else:
        name, judge = "", check_damaged if case.damages else check
        seen = look(lambda: judge(case, opened.world))
    if seen.violation is not None:
        return group_of(name, seen.violation).id
    return ", ".join(sorted(seen.known))


def _answer(seen: Seen, *, still: bool) -> Answer:
    text = str(seen.violation) if seen.violation is not None else seen.headline
    return Answer("still there" if still else "fixed" if seen.holds else "different", text)
