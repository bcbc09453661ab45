"""Bugs found over examples, as a drawing; examples on a logarithmic scale, since the last bug takes most of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..report.svg import INK, drawing, line, text
from .race import Record, who_of

__all__ = ["found_over_examples"]

_WIDTH, _HEIGHT, _LEFT, _BELOW, _ABOVE, _RIGHT = 520.0, 260.0, 48.0, 40.0, 14.0, 16.0


def found_over_examples(records: Sequence[Record]) -> str:
    """The part of the races in which the bug was found within so many examples, of each who looked for it."""
    by_who: dict[str, list[Record]] = {}
    for record in records:
        by_who.setdefault(who_of(record), []).append(record)
    longest = max([10, *(record.get("examples", 0) for record in records)])
    decades = math.log10(longest)

    def place(examples: float, part: float) -> tuple[float, float]:
        across = _WIDTH - _LEFT - _RIGHT
        high = _HEIGHT - _BELOW - _ABOVE
        return _LEFT + math.log10(max(1, examples)) / decades * across, _HEIGHT - _BELOW - part * high

    parts = [line([place(1, 1), place(1, 0), place(longest, 0)], "#999")]
    for number, (who, theirs) in enumerate(by_who.items()):
        ink = INK[number % len(INK)]
        parts.append(line([place(*step) for step in _steps(theirs, longest)], ink))
        if len(by_who) > 1:
            parts.append(text(_LEFT + 8, _ABOVE + 14 + 16 * number, who, fill=ink))
    for power in range(int(decades) + 1):
        across, down = place(10**power, 0)
        parts.append(text(across, down + 16, f"{10**power:,}", anchor="middle"))
    for part in (0, 0.5, 1):
        parts.append(text(_LEFT - 6, place(1, part)[1] + 4, f"{part:.0%}", anchor="end"))
    parts.append(text((_LEFT + _WIDTH) / 2, _HEIGHT - 6, "examples of all laws together", anchor="middle"))
    said = [f"{len(_found(theirs))} of {len(theirs)} planted bugs found, by {who}" for who, theirs in by_who.items()]
    return drawing(_WIDTH, _HEIGHT, parts, title=f"{'; '.join(said)}; over the examples that it took")


def _found(records: Sequence[Record]) -> list[int]:
    return sorted(record["examples"] for record in records if record["state"] == "found")


def _steps(records: Sequence[Record], longest: int) -> Iterator[tuple[float, float]]:
    yield 1, 0
    found = _found(records)
    for number, examples in enumerate(found, 1):
        yield examples, (number - 1) / len(records)
        yield examples, number / len(records)
    yield longest, len(found) / len(records)
