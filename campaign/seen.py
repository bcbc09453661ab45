"""What a law says of one case: that it holds, the known issues that it met, or the violation that it raised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from properties.check import KNOWN_HITS

__all__ = ["Seen", "look"]


@dataclass(frozen=True)
class Seen:
    """What came of a case that was judged, by a law that knows the ledgers."""

    violation: AssertionError | None = None
    known: frozenset[str] = frozenset()

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong, known or new."""
        return self.violation is None and not self.known

    @property
    def headline(self) -> str:
        """What is wrong, in one line."""
        if self.violation is not None:
            first = str(self.violation).strip().partition("\n")[0]
            return f"{type(self.violation).__name__}: {first}"
        return f"known: {', '.join(sorted(self.known))}" if self.known else "the laws hold"


def look(judge: Callable[[], None]) -> Seen:
    """What ``judge`` raises as a violation of one case, and the known issues that it counts."""
    before = Counter(KNOWN_HITS)
    violation = None
    try:
        judge()
    except AssertionError as error:
        violation = error
    return Seen(violation, frozenset(KNOWN_HITS - before))
