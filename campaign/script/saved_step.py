"""A save of a history, as a part of its script."""

from __future__ import annotations

from dataclasses import dataclass

from .plan import Plan

__all__ = ["SavedStep"]


@dataclass(frozen=True, kw_only=True)
class SavedStep(Plan):
    """A save of values that are all the number of the step."""

    number: int
    job: int

    @property
    def fill(self) -> str:
        """The step."""
        return str(self.number)

    @property
    def ranks(self) -> int:
        """Those of the job."""
        return self.job

    @property
    def compares_content(self) -> bool:
        """But for the step, it does not matter."""
        return False
