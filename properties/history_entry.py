"""What an entry of the ledger on histories says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worlds.histories import History

from .judge_history import HistoryBreach
from .ledger import LedgerEntry

__all__ = ["HistoryIssue"]


@dataclass(frozen=True, kw_only=True)
class HistoryIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of a history."""

    history: History
    matches: Callable[[HistoryBreach], bool]
