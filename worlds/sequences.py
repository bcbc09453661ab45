"""Saves one after the other in the same processes, as plain data: what one leaves behind could show in the next."""

from __future__ import annotations

from dataclasses import dataclass

from .concise import Concise
from .invalid import InvalidScenario
from .outcome import Outcome
from .scenario import Scenario

__all__ = ["SaveSequence", "SequenceOutcome"]


@dataclass(frozen=True, repr=False)
class SaveSequence(Concise):
    """Saves of ``steps`` in turn, by the same ranks, and a load of each.

    All steps are saved in one world; their loads may be in others.
    """

    steps: tuple[Scenario, ...] = ()
    in_place: bool = False
    """Whether all are saved to one path, and not each to its own; whose writer does not overwrite is refused then."""
    anew: bool = False
    """Whether daemons of ``async_save`` that ranks have from before end first, so that new ones begin."""

    def __post_init__(self) -> None:
        worlds = {(step.save.world_size, step.save.distributed) for step in self.steps}
        if len(worlds) > 1:
            raise InvalidScenario("the saves of a sequence are in different worlds")
        if any(step.damages for step in self.steps):
            raise InvalidScenario("the checkpoints of a sequence are not damaged")

    def path(self, directory: str, number: int) -> str:
        """Where that step is saved to."""
        return f"{directory}/{0 if self.in_place else number}"


@dataclass(frozen=True)
class SequenceOutcome:
    """What came of each step, up to the first after which the ranks could not go on."""

    steps: tuple[Outcome, ...]
