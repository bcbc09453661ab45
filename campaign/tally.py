"""What a campaign has come to: a sum over its records, the same whether they are heard live or read from its logs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .finding import Finding
from .logs import Record

__all__ = ["LawTally", "Lost", "Tally", "Tick", "how_often"]


def how_often(count: int) -> str:
    """``once``, or how many times."""
    return "once" if count == 1 else f"{count} times"


@dataclass
class LawTally:
    """Of one law."""

    examples: int = 0
    seconds: float = 0
    units: int = 0
    known: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    behaviours: set[int] = field(default_factory=set)
    fresh: float = 1
    """How many new behaviours a second its last units have shown; 1 before the first one."""


@dataclass(frozen=True)
class Lost:
    """A unit that did not come to its end, and the case that its worker had begun."""

    unit: str
    law: str
    how: str
    case: dict[str, Any] | None = None


@dataclass(frozen=True)
class Tick:
    """How far it was after so many seconds."""

    seconds: float
    examples: int
    behaviours: int
    findings: int


@dataclass
class Tally:
    """The sum of the records that :meth:`add` was given."""

    laws: dict[str, LawTally] = field(default_factory=dict)
    features: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    drawn: Counter[str] = field(default_factory=Counter)
    """How many cases had what, as :mod:`campaign.drawn` has it."""

    known: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    """How often each group was drawn."""

    shrinking: int = 0
    """How many cases were run to make findings smaller, which are no examples."""

    findings: dict[str, Finding] = field(default_factory=dict)
    first_seen: dict[str, str] = field(default_factory=dict)
    """The unit that found each."""

    again: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What earlier findings showed when they were run again, and in one line what was seen."""

    finishing: set[str] = field(default_factory=set)
    """Findings that were taken up again, since whoever found them died before they were small."""

    lost: list[Lost] = field(default_factory=list)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many units of a law the tester itself failed in, with what."""

    open_units: dict[str, str] = field(default_factory=dict)
    """The law of each unit that has begun and not ended."""

    sessions: int = 0
    _ticks: dict[str, list[Tick]] = field(default_factory=dict)
    """Of each campaign that was merged into this one, or of this one alone."""

    _of_unit: dict[str, tuple[int, float]] = field(default_factory=dict)
    _law_of_unit: dict[str, str] = field(default_factory=dict)

    @property
    def examples(self) -> int:
        """Of all laws."""
        return sum(law.examples for law in self.laws.values())

    @property
    def behaviours(self) -> int:
        """Of all laws, each counted by itself."""
        return sum(len(law.behaviours) for law in self.laws.values())

    @property
    def elapsed(self) -> float:
        """Seconds; of campaigns that are merged, which may have run side by side, those of the longest."""
        return max((ticks[-1].seconds for ticks in self._ticks.values()), default=0)

    @property
    def ticks(self) -> list[Tick]:
        """How far it was when.

        Of campaigns that are merged the examples of all, and at each time the most behaviours and findings of one: how
        many they had together is known of the end alone.
        """
        if not self._ticks:
            return []
        last: dict[str, Tick] = {}
        found = []
        every = ((tick, source) for source, ticks in self._ticks.items() for tick in ticks)
        for tick, source in sorted(every, key=lambda each: each[0].seconds):
            last[source] = tick
            at = last.values()
            behaviours, findings = max(each.behaviours for each in at), max(each.findings for each in at)
            found.append(Tick(tick.seconds, sum(each.examples for each in at), behaviours, findings))
        return [*found, Tick(self.elapsed, self.examples, self.behaviours, len(self.findings))]

    @property
    def unfinished(self) -> list[Finding]:
        """The findings that nobody has made small, or tried to once more."""
        return [each for each in self.findings.values() if each.is_sighting and each.id not in self.finishing]

    @property
    def is_news(self) -> bool:
        """Whether there is something that somebody has to look at."""
        return bool(self.findings or self.lost or self.errors)

    def add(self, record: Record) -> None:
        """Take a record in; each once, and those of a unit in their order."""
        match record["is"]:
            case "begin":
                self.open_units[record["unit"]] = self._law_of_unit[record["unit"]] = record["law"]
                self._law(record["unit"]).units += 1
            case "progress":
                self._progress(record)
            case "finding":
                self._finding(record)
            case "again":
                self.again[record["finding"]] = (record["state"], record["headline"])
            case "finishing":
                self.finishing.add(record["finding"])
            case "end":
                self._end(record)
            case "lost":
                self.open_units.pop(record["unit"], None)
                self._law(record["unit"]).fresh = 0
                self.lost.append(Lost(record["unit"], record["law"], record["how"], record["case"]))
            case "session":
                self.sessions += 1
            case "tick":
                ticks = self._ticks.setdefault(record.get("source", ""), [])
                seconds = record["seconds"] + (ticks[-1].seconds if ticks else 0)
                ticks.append(Tick(seconds, record["examples"], record["behaviours"], record["findings"]))

    def _law(self, unit: str) -> LawTally:
        return self.laws.setdefault(self._law_of_unit[unit], LawTally())

    def _progress(self, record: Record) -> None:
        law = self._law(record["unit"])
        law.examples += record["examples"]
        self.shrinking += record.get("shrinking", 0)
        law.seconds += record["seconds"]
        law.known.update(record["known"])
        law.violations.update(record["violations"])
        new = set(record["behaviours"]) - law.behaviours
        law.behaviours |= new
        for mine, more in (
            (self.features, "features"),
            (self.faults, "faults"),
            (self.known, "known"),
            (self.violations, "violations"),
            (self.drawn, "drawn"),
        ):
            mine.update(record.get(more, ()))
        shown, seconds = self._of_unit.get(record["unit"], (0, 0.0))
        self._of_unit[record["unit"]] = shown + len(new), seconds + record["seconds"]

    def _finding(self, record: Record) -> None:
        finding = Finding.from_data(record["finding"])
        before = self.findings.get(finding.id)
        if before is None:
            self.first_seen[finding.id] = record["unit"]
        if before is None or finding.is_better_than(before):
            self.findings[finding.id] = finding

    def _end(self, record: Record) -> None:
        unit = record["unit"]
        self.open_units.pop(unit, None)
        if record["error"]:
            self.errors[self._law_of_unit[unit], record["error"]] += 1
        shown, seconds = self._of_unit.pop(unit, (0, 0.0))
        law = self._law(unit)
        if seconds:
            law.fresh = (law.fresh + shown / seconds) / 2 if law.units > 1 else shown / seconds
