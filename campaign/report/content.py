"""What a report says, worked out of a campaign's tally; how it looks is the page's affair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from properties.judged import JUDGED
from properties.ledger import LedgerEntry
from properties.summary import ENTRIES
from worlds import Scenario
from worlds.hooks import HOOKS

from ..drawn import DRAWN
from ..finding import Finding
from ..folder import Folder, Plan
from ..status import Refused
from ..tally import Tally, how_often
from .diagrams import diagrams
from .picture import TensorPicture, tensor_pictures
from .story import Story, stories

__all__ = ["Content", "Covered", "Shown", "content_of"]


@dataclass(frozen=True)
class Shown:
    """A finding, with what is drawn of it."""

    finding: Finding
    often: str
    directory: str
    pictures: tuple[TensorPicture, ...] = ()
    stories: tuple[Story, ...] = ()
    diagrams: tuple[tuple[str, str], ...] = ()
    """Of what is more than a scenario: what each shows, and the drawing."""


@dataclass(frozen=True)
class Covered:
    """A group of things that can be drawn: how often each was, those never drawn too."""

    group: str
    counts: tuple[tuple[str, int], ...]

    @property
    def most(self) -> int:
        """Of the one that was drawn most often."""
        return max((count for _, count in self.counts), default=0)

    @property
    def never(self) -> tuple[str, ...]:
        """Those that were not."""
        return tuple(name for name, count in self.counts if not count)


@dataclass(frozen=True)
class Content:
    """All of it."""

    plan: Plan
    tally: Tally
    new: tuple[Shown, ...]
    known: tuple[tuple[LedgerEntry, int], ...]
    again: tuple[tuple[str, str, str], ...]
    """Of findings of earlier campaigns: the id, what it showed now, and in one line what was seen."""

    covered: tuple[Covered, ...]

    @property
    def is_news(self) -> bool:
        """Whether there is something that somebody has to look at."""
        return self.tally.is_news

    @property
    def headline(self) -> str:
        """The campaign in a few words."""
        parts = [_many(len(self.new), "new finding")] if self.new else []
        if self.tally.lost:
            parts.append(f"{_many(len(self.tally.lost), 'unit')} lost")
        if self.tally.errors:
            parts.append(f"{_many(len(self.tally.errors), 'error')} of the tester")
        return ", ".join(parts) or "Nothing new"

    @property
    def never(self) -> tuple[Covered, ...]:
        """Groups of which something was drawn, and something never."""
        return tuple(covered for covered in self.covered if covered.never and covered.most)

    @property
    def untouched(self) -> tuple[str, ...]:
        """Groups of which nothing was drawn: those of laws that did not run."""
        return tuple(covered.group for covered in self.covered if not covered.most)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def content_of(folder: Folder, tally: Tally) -> Content:
    """What there is to say of the campaign in that directory."""
    new = sorted(tally.findings.values(), key=lambda finding: (finding.size, finding.id))
    known = [(ENTRIES[name], count) for name, count in tally.known.most_common() if name in ENTRIES]
    again = sorted((state, name, headline) for name, (state, headline) in tally.again.items())
    return Content(
        folder.plan(),
        tally,
        tuple(_shown(finding, tally, folder.findings()) for finding in new),
        tuple(known),
        tuple((name, state, headline) for state, name, headline in reversed(again)),
        tuple(_covered(tally)),
    )


def _shown(finding: Finding, tally: Tally, directory: Path) -> Shown:
    shown = Shown(finding, how_often(tally.violations[finding.id]), str(directory / finding.id))
    try:
        case = finding.read_case()
    except Refused:  # of another version, whose text is all that there is
        return shown
    scenario = case if isinstance(case, Scenario) else getattr(case, "scenario", None)
    if not isinstance(scenario, Scenario):
        return replace(shown, diagrams=tuple(diagrams(case)))
    pictures = tuple(tensor_pictures(scenario))
    return replace(shown, pictures=pictures, stories=tuple(stories(finding, scenario)))


def _covered(tally: Tally) -> Iterator[Covered]:
    yield from _groups(DRAWN, tally.drawn)
    yield from _groups(JUDGED, tally.features)
    for operation in ("save", "load"):
        hooks = [(name, hook) for (where, name), hook in HOOKS.items() if where == operation]
        counts = [
            (
                f"{name} on {'the coordinator' if role == 'coordinator' else 'another rank'}",
                _hits(tally, operation, name, role),
            )
            for name, hook in hooks
            for role in (("coordinator",) if hook.role == "coordinator" else ("coordinator", "rank"))
        ]
        yield Covered(f"faults that were reached, {operation}", tuple(counts))


def _groups(groups: Mapping[str, tuple[str, ...]], counts: Mapping[str, int]) -> Iterator[Covered]:
    for group, names in groups.items():
        yield Covered(group, tuple((name, counts.get(f"{group}: {name}", 0)) for name in names))


def _hits(tally: Tally, operation: str, name: str, role: str) -> int:
    return sum(tally.faults[f"{operation} {name} {through} {role}"] for through in ("call", "future"))
