"""Two saves in one program, each to a path of its own, as plain data: by two groups of ranks, or in flight together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .concise import Concise
from .invalid import require
from .operations import Operation
from .outcome import Outcome
from .scenario import Scenario

__all__ = ["How", "SideBySide", "SideBySideOutcome"]

How = Literal["groups", "uploads", "one group"]
"""Each group of ranks calls for itself; all ranks call ``async_save`` for both, and then wait for both, with a group
for each of the two; or with one group for both."""

Name = Literal["save", "load"]

_GROUP_OF_ONE = Operation(members=(0,))
_EMPTY = Scenario(save=_GROUP_OF_ONE, load=_GROUP_OF_ONE)


@dataclass(frozen=True, repr=False)
class SideBySide(Concise):
    """Two scenarios that are saved in one world, and then loaded in one world.

    As ``"groups"`` each has the ``members`` of its own save; a rank that is in both calls for ``one`` first. As
    uploads, each is an ``async_save`` by all ranks of the world; the ``other`` has all of them as ``members``, which
    makes a group of its own, but for ``"one group"``. Each load is by ``members`` of its own.
    """

    _positional = 2

    one: Scenario = _EMPTY
    other: Scenario = _EMPTY
    how: How = "groups"

    def __post_init__(self) -> None:
        require(self.how in ("groups", "uploads", "one group"), f"no way to save side by side: {self.how!r}")
        require(not any(scenario.damages for scenario in self.both), "what is saved side by side is not damaged")
        if self.how != "groups":
            self._check_uploads()
        for name in ("save", "load"):
            if name == "load" or self.how == "groups":
                self._check_groups(name)

    def _check_groups(self, name: Name) -> None:
        groups = [set(scenario.operation(name).members) for scenario in self.both]
        require(all(groups), f"each {name} has members")
        apart = not groups[0] & groups[1]
        faults = [fault for scenario in self.both for fault in scenario.all_faults]
        require(apart or not faults, "a rank that fails in one group is not in the other")

    def _check_uploads(self) -> None:
        one, other = (scenario.save for scenario in self.both)
        require(one.api == other.api == "async", "uploads are those of async_save")
        require(one.distributed and one.world_size == other.world_size, "both uploads are by all ranks")
        everyone = tuple(range(one.world_size)) if self.how == "uploads" else ()
        require((one.members, other.members) == ((), everyone), "each upload has the group that it is to have")
        require(not any(scenario.all_faults for scenario in self.both), "uploads have no faults")

    @property
    def both(self) -> tuple[Scenario, Scenario]:
        """The two."""
        return self.one, self.other

    def whole_world(self, name: Name) -> int:
        """The size of the world that both operations of that name are in."""
        return max(scenario.operation(name).whole_world for scenario in self.both)


@dataclass(frozen=True)
class SideBySideOutcome:
    """What came of each of the two: side by side, and alone. No reached faults are counted."""

    together: tuple[Outcome, Outcome]
    alone: tuple[Outcome, Outcome]
