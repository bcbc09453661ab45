"""The docstring of the script of a history: what is expected of its last step."""

from __future__ import annotations

from properties.history_issues import find_history_issue
from properties.history_model import Sight
from properties.judge_history import AtAnotherPlace, HistoryBreach, MemoryShows, UnderAnotherName
from properties.judge_killed import EarlierChanged, MixedCheckpoint, NeitherOldNorNew
from properties.violations import NotRefused, Violation
from worlds.histories import Load

from ..header import described, titled

__all__ = ["header_of"]

_TITLES: dict[type[Violation], str] = {
    AtAnotherPlace: "a load holds elements of a tensor at other places of it",
    EarlierChanged: "a call changes files of a checkpoint that it is not to change",
    MemoryShows: "a save does not come to what it does in processes that have done nothing before",
    MixedCheckpoint: "a load mixes what was saved at two steps",
    NeitherOldNorNew: "a load succeeds where nothing was saved",
    NotRefused: "a save overwrites a checkpoint in spite of overwrite=False",
    UnderAnotherName: "a load holds under one name what was saved under another",
}


def header_of(breach: HistoryBreach, sight: Sight, ranks: int) -> str:
    """What is wrong, expected and seen, and how to run it by so many ranks."""
    title = titled(find_history_issue(breach), _TITLES.get(breach.kind, "a load does not hold what was saved last"))
    at = f", at step {breach.step + 1}"
    return described(title, [_expected(breach, sight)], [breach.headline], ranks=ranks, at=at)


def _expected(breach: HistoryBreach, sight: Sight) -> str:
    if breach.kind is EarlierChanged:
        return "the last call leaves what is at another path as it is, and all of it where it fails in its plan"
    if breach.kind is MemoryShows:
        return "the last save writes the same as in processes that have done nothing before"
    if not isinstance(breach.history.steps[breach.step], Load):
        return "the last save raises CheckpointException, since it is not to overwrite what is there"
    if not sight.saves:
        return "load() raises CheckpointException, since no checkpoint is there"
    if sight.may_fail:
        return "what is loaded at the end was all saved at one step, or load() raises CheckpointException"
    return f"load() returns, with what was saved at step {max(sight.saves) + 1}"
