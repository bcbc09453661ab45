"""How a training that was saved and loaded breaks the law: the kind, where, and the text that a violation prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from properties.verdict import describe_ranks, place_of, rank_text
from properties.violations import Violation
from worlds.concise import pretty
from worlds.outcome import Deadlocked, Raised
from worlds.training import Failed, Loaded, Training, TrainingOutcome

__all__ = ["TrainingBreach", "describe_failures"]


@dataclass(frozen=True)
class TrainingBreach:
    """The law is broken: the kind, what broke in one line, on which side, and what was expected beside what was seen.

    ``name`` is that of a tensor or a value as :class:`worlds.training.Held` has it, where it is about one, on ``rank``.
    """

    kind: type[Violation]
    headline: str
    training: Training
    outcome: TrainingOutcome
    side: Literal["save", "load"]
    name: str = ""
    rank: int = 0
    expected: str = ""
    seen: str = ""
    detail: tuple[str, ...] = ()
    missing: bool = False
    """Whether something that was saved is not there at all."""

    failed: Failed | None = None
    """What ranks raised, where that is what broke: others may have raised something else, or wait for them."""

    def target(self) -> Loaded | None:
        """What the rank that it is about held before and after the load, if the load returned there."""
        ranks = self.outcome.loaded[self.rank : self.rank + 1]
        return next((seen for seen in ranks if self.side == "load" and isinstance(seen, Loaded)), None)

    def violation(self) -> Violation:
        """The exception of the breach's kind, with the whole text."""
        lines = [self.headline, "", *f"training = {pretty(self.training)}".splitlines(), ""]
        if self.expected or self.seen:
            lines += [f"expected  {self.expected}", f"seen      {self.seen}"]
        lines += self.detail
        ranks = self.outcome.saved if self.side == "save" else self.outcome.loaded
        seen = [self.failed] if self.failed is not None else list(ranks)
        raised = [each.raised if isinstance(each, Failed) else each for each in seen]
        place = place_of(each for each in raised if isinstance(each, Raised | Deadlocked))
        error = None if self.failed is None else self.failed.raised.error
        fact = "" if error is None else f"{error.type}: {error.message}"
        return self.kind("\n".join(lines)).at(place, fact)


def failed_text(seen: object) -> str:
    """What a rank saw of a side that did not go well everywhere, in one line."""
    if isinstance(seen, Failed):
        return f"{seen.call}: {rank_text(seen.raised)}"
    return rank_text(seen) if not hasattr(seen, "after") else "returned"  # type: ignore[arg-type]


def describe_failures(seen: tuple[object, ...]) -> list[str]:
    """The ranks that saw the same together, as lines."""
    return [f"{ranks}: {text}" for ranks, text in describe_ranks(seen, failed_text)]  # type: ignore[arg-type]
