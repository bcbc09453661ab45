"""What happened in a scenario, rank by rank: where each was to fail, and how each ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from properties.verdict import rank_text
from worlds import Outcome
from worlds.codec import from_json
from worlds.hooks import HOOKS
from worlds.invalid import InvalidScenario
from worlds.outcome import Deadlocked, Died, OperationOutcome, Returned
from worlds.scenario import Scenario

from ..finding import Finding

__all__ = ["Cell", "Row", "Story", "stories"]

_PHASES: dict[Literal["save", "load"], tuple[str, ...]] = {
    "save": ("before", "plan", "write"),
    "load": ("before", "plan", "read", "behind"),
}


@dataclass(frozen=True)
class Cell:
    """A phase on a rank: the faults there, and whether one was reached."""

    faults: tuple[str, ...] = ()
    reached: bool = False


@dataclass(frozen=True)
class Row:
    """A rank: its phases, how it ended, and whether it is the coordinator."""

    rank: int
    cells: tuple[Cell, ...]
    end: str
    mark: str
    coordinator: bool


@dataclass(frozen=True)
class Story:
    """A save or a load, with those phases in which something was to fail."""

    operation: str
    phases: tuple[str, ...]
    rows: tuple[Row, ...]


def stories(finding: Finding, scenario: Scenario) -> Iterator[Story]:
    """The save and, if it came to that, the load; nothing where the outcome is not known."""
    if finding.outcome is None:
        return
    try:
        outcome = from_json(json.dumps(finding.outcome), Outcome)
    except InvalidScenario:  # of another version
        return
    yield _story(scenario, "save", outcome.save)
    if outcome.load is not None:
        yield _story(scenario, "load", outcome.load)


def _story(scenario: Scenario, name: Literal["save", "load"], outcome: OperationOutcome) -> Story:
    reached = {hit.index for hit in outcome.hits}
    at = [_phase(name, fault.hook) for fault in scenario.faults if fault.operation == name]
    phases = tuple(phase for phase in _PHASES[name] if phase in at)
    rows = []
    for rank, seen in enumerate(outcome.ranks):
        cells = tuple(_cell(scenario, name, rank, phase, reached) for phase in phases)
        mark = "ok" if isinstance(seen, Returned) else "hangs" if isinstance(seen, Deadlocked | Died) else "raised"
        rows.append(Row(rank, cells, rank_text(seen), mark, rank == scenario.operation(name).coordinator))
    return Story(name, phases, tuple(rows))


def _cell(scenario: Scenario, name: Literal["save", "load"], rank: int, phase: str, reached: set[int]) -> Cell:
    here = [
        index
        for index, fault in enumerate(scenario.faults)
        if fault.operation == name and fault.rank == rank and _phase(name, fault.hook) == phase
    ]
    words = tuple(f"{scenario.faults[index].hook} ({scenario.faults[index].error})" for index in here)
    return Cell(words, any(index in reached for index in here))


def _phase(name: str, hook: str) -> str:
    place = HOOKS[name, hook]
    return place.phase or ("behind" if place.last else "before")
