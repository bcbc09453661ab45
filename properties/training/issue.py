"""The entries of the ledgers of trainings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from properties.ledger import LedgerEntry
from worlds.training import Training
from worlds.training.misfit import Misfit

from .breach import TrainingBreach
from .judge_misfit import MisfitBreach

__all__ = ["MisfitIssue", "TrainingIssue"]


@dataclass(frozen=True, kw_only=True)
class TrainingIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of a training."""

    training: Training
    matches: Callable[[TrainingBreach], bool]


@dataclass(frozen=True, kw_only=True)
class MisfitIssue(LedgerEntry):
    """As above, of what does not fit a training."""

    misfit: Misfit
    matches: Callable[[MisfitBreach], bool]
