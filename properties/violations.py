"""The kinds of violations: one exception class for each way in which a law can be broken.

Hypothesis tells failures apart by the exception's type and the line that raised it, and would otherwise shrink one bug
into another; so each kind is a class of its own, and is raised from a line of its own.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NoReturn, Self

__all__ = [
    "BadChunks",
    "BadStorageIndex",
    "ChangedInput",
    "ChangedOutside",
    "Deadlock",
    "Disagreement",
    "Law",
    "LostFailure",
    "MetadataUnreadable",
    "MetadataWrong",
    "NotInPlace",
    "NotLoaded",
    "NotRefused",
    "PassedFailure",
    "RankDied",
    "TouchedTarget",
    "UnclearRefusal",
    "UnexpectedFailure",
    "UnprotectedFailure",
    "UnseenDamage",
    "Violation",
    "WrongBits",
    "WrongException",
    "WrongKeys",
    "WrongObject",
    "WrongPhase",
    "WrongRanks",
    "WrongTensor",
    "WroteBeforeRefusal",
]

Law = Literal["round trip", "blame", "no deadlock", "metadata", "refusal", "planning", "damage"]


class Violation(AssertionError):
    """A law is broken. The text's first line says what broke; the scenario, and what was expected and seen, follow."""

    law: ClassVar[Law]

    fact: str = ""
    """What differs first, where violations of this kind can differ in several things: in words without an example's."""

    place: str = ""
    """Where in DCP: the innermost frame of what was raised and should not have been, or of a wait for ever."""

    def at(self, place: str, fact: str = "") -> Self:
        """This violation, with its place and fact."""
        self.place, self.fact = place, fact
        return self

    def throw(self) -> NoReturn:
        """Raise this violation, from the line of its kind."""
        raise NotImplementedError


class Deadlock(Violation):
    """Ranks wait for ever."""

    law = "no deadlock"

    def throw(self) -> NoReturn:
        raise self


class RankDied(Violation):
    """A rank's process ended, and no fault said that it should."""

    law = "no deadlock"

    def throw(self) -> NoReturn:
        raise self


class UnexpectedFailure(Violation):
    """An operation failed in which no rank should."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class LostFailure(Violation):
    """A rank failed, and the operation reports success, or other ranks only."""

    law = "blame"

    def throw(self) -> NoReturn:
        raise self


class WrongRanks(Violation):
    """A rank is blamed that did not fail."""

    law = "blame"

    def throw(self) -> NoReturn:
        raise self


class WrongPhase(Violation):
    """The failure is reported for another phase than the one it happened in."""

    law = "blame"

    def throw(self) -> NoReturn:
        raise self


class WrongException(Violation):
    """A rank is blamed for another exception than the one that it raised."""

    law = "blame"

    def throw(self) -> NoReturn:
        raise self


class Disagreement(Violation):
    """Ranks that should have seen the same did not."""

    law = "blame"

    def throw(self) -> NoReturn:
        raise self


class UnprotectedFailure(Violation):
    """A rank raised something that is no ``CheckpointException`` and names nobody."""

    law = "blame"

    def throw(self) -> NoReturn:
        raise self


class PassedFailure(Violation):
    """A hook ran that comes after a failure that should have ended the operation."""

    law = "blame"

    def throw(self) -> NoReturn:
        raise self


class NotRefused(Violation):
    """What cannot be saved or loaded as it is given was taken without a word."""

    law = "refusal"

    def throw(self) -> NoReturn:
        raise self


class TouchedTarget(Violation):
    """A load that failed before it read anything changed what it was to load into."""

    law = "refusal"

    def throw(self) -> NoReturn:
        raise self


class UnclearRefusal(Violation):
    """What is wrong is refused by an error from within, which says nothing of it."""

    law = "refusal"

    def throw(self) -> NoReturn:
        raise self


class WroteBeforeRefusal(Violation):
    """What is wrong was refused once files had been written."""

    law = "refusal"

    def throw(self) -> NoReturn:
        raise self


class ChangedInput(Violation):
    """A save changed what it was given to save, or a load has taken names out of what it was given."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class WrongKeys(Violation):
    """A state dict has keys too many, too few, or in another order than before."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class WrongTensor(Violation):
    """A loaded tensor has another kind, dtype, shape or sharding than its target."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class NotLoaded(Violation):
    """The load reports success and left elements of a target as they were."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class WrongBits(Violation):
    """Loaded elements are not those that were saved."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class WrongObject(Violation):
    """A loaded object is not the one that was saved."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class NotInPlace(Violation):
    """A load put a new tensor where it should have filled the one that it was given."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class ChangedOutside(Violation):
    """A load wrote to memory beside its target."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class UnseenDamage(Violation):
    """The load of a damaged checkpoint reports success, and what it holds is not what was saved."""

    law = "damage"

    def throw(self) -> NoReturn:
        raise self


class MetadataUnreadable(Violation):
    """The metadata cannot be read after a save that succeeded."""

    law = "metadata"

    def throw(self) -> NoReturn:
        raise self


class MetadataWrong(Violation):
    """The metadata names other entries, dtypes or shapes than were saved."""

    law = "metadata"

    def throw(self) -> NoReturn:
        raise self


class BadChunks(Violation):
    """The chunks in the metadata do not tile a tensor exactly."""

    law = "metadata"

    def throw(self) -> NoReturn:
        raise self


class BadStorageIndex(Violation):
    """A chunk or an object has no entry in the storage's index, or one that points where it cannot be."""

    law = "metadata"

    def throw(self) -> NoReturn:
        raise self
