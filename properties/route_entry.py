"""What an entry of the ledgers of other ways says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worlds.routes import Route

from .judge_route import RouteBreach
from .ledger import LedgerEntry

__all__ = ["RouteIssue"]


@dataclass(frozen=True, kw_only=True)
class RouteIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of a state that goes another way."""

    route: Route
    matches: Callable[[RouteBreach], bool]
