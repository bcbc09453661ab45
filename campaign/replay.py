"""A case again, in any world: whether it shows what it showed."""

from __future__ import annotations

from dataclasses import dataclass

from properties.check import check
from properties.damage_issues import check_damaged
from properties.summary import ENTRIES

from .entries import show_entry
from .files import read_scenario
from .opened import OpenedWorlds
from .seen import Seen, look
from .status import DIFFERENT, NEWS, NOTHING

__all__ = ["Answer", "again"]


@dataclass(frozen=True)
class Answer:
    """What a case shows now, in a word, with the exit status that says so and what was seen."""

    word: str
    status: int
    text: str = ""


def again(what: str, opened: OpenedWorlds) -> Answer:
    """Run an entry of a ledger by its id, or a scenario by its file, once more."""
    if what in ENTRIES:
        seen = show_entry(ENTRIES[what], opened)
        return _answer(seen, still=what in seen.known)
    scenario = read_scenario(what)
    judge = check_damaged if scenario.damages else check
    seen = look(lambda: judge(scenario, opened.world))
    return _answer(seen, still=not seen.holds)


def _answer(seen: Seen, *, still: bool) -> Answer:
    text = str(seen.violation) if seen.violation is not None else seen.headline
    if still:
        return Answer("still there", NEWS, text)
    return Answer("fixed", NOTHING, text) if seen.holds else Answer("different", DIFFERENT, text)
