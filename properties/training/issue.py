"""An entry of the ledger of trainings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from properties.ledger import LedgerEntry
from worlds.training import Training

from .breach import TrainingBreach

__all__ = ["TrainingIssue"]


@dataclass(frozen=True, kw_only=True)
class TrainingIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of a training."""

    training: Training
    matches: Callable[[TrainingBreach], bool]
