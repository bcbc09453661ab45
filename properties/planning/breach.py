"""How a planning law breaks: the kinds, and the text that a violation prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from properties.violations import Violation
from worlds.concise import Concise, pretty
from worlds.record import record_error

__all__ = [
    "AcceptedWrong",
    "ChangedArgument",
    "NotInverse",
    "PlanBreach",
    "PlanRaised",
    "RefusedRight",
    "Unbalanced",
    "WrongComparison",
    "WrongItems",
    "WrongMetadata",
    "WrongOffsets",
    "WrongRead",
    "result_of",
]

T = TypeVar("T")


class PlanningViolation(Violation):
    """A planning function broke a law."""

    law = "planning"


class PlanRaised(PlanningViolation):
    """A planning function raised on a legal input, or not what it should on another."""

    def throw(self) -> NoReturn:
        raise self


class WrongRead(PlanningViolation):
    """Read items leave out, repeat or misplace an element."""

    def throw(self) -> NoReturn:
        raise self


class WrongItems(PlanningViolation):
    """Items are lost, repeated, changed, or on a rank that did not have them."""

    def throw(self) -> NoReturn:
        raise self


class Unbalanced(PlanningViolation):
    """Items are not where they weigh least."""

    def throw(self) -> NoReturn:
        raise self


class WrongMetadata(PlanningViolation):
    """The metadata made of plans says other things than the plans."""

    def throw(self) -> NoReturn:
        raise self


class AcceptedWrong(PlanningViolation):
    """What should be refused is accepted."""

    def throw(self) -> NoReturn:
        raise self


class RefusedRight(PlanningViolation):
    """What should be accepted is refused."""

    def throw(self) -> NoReturn:
        raise self


class NotInverse(PlanningViolation):
    """A state dict does not come back, or a path does not lead where it should."""

    def throw(self) -> NoReturn:
        raise self


class WrongOffsets(PlanningViolation):
    """A shard is said to be elsewhere, or of another size, than it is."""

    def throw(self) -> NoReturn:
        raise self


class WrongComparison(PlanningViolation):
    """Plans are taken for the same that write different things, or for different ones that are the same."""

    def throw(self) -> NoReturn:
        raise self


class ChangedArgument(PlanningViolation):
    """A planning function changed what it was given."""

    def throw(self) -> NoReturn:
        raise self


@dataclass(frozen=True)
class PlanBreach:
    """A planning law is broken: the kind, what broke in one line, what a model expects, and what was seen instead."""

    kind: type[PlanningViolation]
    headline: str
    expected: object = None
    seen: object = None
    subject: Any = None
    """What of the input or the result it is about, for the ledger."""

    def violation(self, case: Concise) -> PlanningViolation:
        """The exception of the breach's kind, with the whole text."""
        lines = [self.headline, "", f"case = {pretty(case)}", "", f"expected  {_text(self.expected)}"]
        violation = self.kind("\n".join([*lines, f"seen      {_text(self.seen)}"]))
        place = record_error(self.seen).place if isinstance(self.seen, Exception) else ""
        return violation.at(place, self.headline)


def _text(value: object, limit: int = 600) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def result_of(function: Callable[[], T]) -> T | Exception:
    """What it returns, or the exception that it raises."""
    try:
        return function()
    except Exception as error:
        return error
