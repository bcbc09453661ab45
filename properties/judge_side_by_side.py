"""Judges two saves in one program: each comes to what it comes to alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from worlds.concise import pretty
from worlds.outcome import Deadlocked, OperationOutcome, Outcome, Raised, RankOutcome, Returned
from worlds.scenario import Scenario
from worlds.side_by_side import SideBySide, SideBySideOutcome

from .agreement import is_race
from .verdict import outcome_lines
from .violations import Violation

__all__ = ["SideBySideBreach", "differing_ranks", "judge_side_by_side"]


class OtherSaveShows(Violation):
    """A save beside another one, to another path, comes to something else than it does alone."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


@dataclass(frozen=True)
class SideBySideBreach:
    """How one of the two differs, in one line, and what came of it together with the other and alone.

    ``number`` says which of the two it is, 0 or 1; ``goes_without_caching`` that nothing differs where no plans are
    cached, if it was tried.
    """

    headline: str
    pair: SideBySide
    together: Outcome
    alone: Outcome
    number: int = 0
    goes_without_caching: bool = False

    def violation(self) -> Violation:
        """The exception, with the whole text."""
        lines = [self.headline, "", *f"pair = {pretty(self.pair)}".splitlines(), ""]
        for name, outcome in (("alone", self.alone), ("together", self.together)):
            lines += outcome_lines(name, outcome)
        return OtherSaveShows("\n".join(lines))


def judge_side_by_side(pair: SideBySide, outcome: SideBySideOutcome) -> SideBySideBreach | None:
    """The first of the two that differs from what it is alone, or ``None``."""
    if _is_in_the_way(pair, outcome):
        return None
    for number, scenario in enumerate(pair.both):
        together, alone = outcome.together[number], outcome.alone[number]
        difference = next(_differences(scenario, alone, together), None)
        if difference is not None:
            which = "the first save" if number == 0 else "the second save"
            return SideBySideBreach(f"{which} beside another one: {difference}", pair, together, alone, number)
    return None


def _is_in_the_way(pair: SideBySide, outcome: SideBySideOutcome) -> bool:
    """Whether one of the two hangs also alone, in a rank that is to go on with the other one."""
    for name in ("save", "load"):
        one, other = (set(scenario.operation(name).members) for scenario in pair.both)
        for alone in outcome.alone:
            seen = alone.save if name == "save" else alone.load
            if seen is not None and any(isinstance(rank, Deadlocked) for rank in seen.ranks):
                return bool(one & other) or (name == "save" and pair.how != "groups")
    return False


def _differences(scenario: Scenario, alone: Outcome, together: Outcome) -> Iterator[str]:
    if is_race(scenario):
        return
    for name, one, other in (("save", alone.save, together.save), ("load", alone.load, together.load)):
        for rank in differing_ranks(one, other):
            yield f"rank {rank} sees another {name}"
    if scenario.writer.thread_count > 1:
        return  # which thread writes which file is the system's affair
    if alone.files != together.files:
        yield "the files are others"
    if (alone.metadata, alone.metadata_error) != (together.metadata, together.metadata_error):
        yield "the metadata are others"


def differing_ranks(one: OperationOutcome | None, other: OperationOutcome | None) -> list[int]:
    """The ranks that saw different things, but for where in torch, and in which collective, they did."""
    if one is None or other is None:
        return [] if one is other else [0]
    pairs = enumerate(zip(one.ranks, other.ranks, strict=True))
    return [rank for rank, (left, right) in pairs if _comparable(left) != _comparable(right)]


def _comparable(seen: RankOutcome) -> RankOutcome | str:
    match seen:
        case Deadlocked():
            return "waits for ever"  # how many collectives were before is not of interest
        case Raised():
            return replace(seen, origin="")
        case Returned():
            return replace(seen, metadata=None)  # that of the whole is compared
    return seen
