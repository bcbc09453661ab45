"""Bugs found over examples, as a drawing; examples on a logarithmic scale, since the last bug takes most of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..report.svg import INK, drawing, line, text
from .race import Record

__all__ = ["found_over_examples"]

_WIDTH, _HEIGHT, _LEFT, _BELOW, _ABOVE, _RIGHT = 520.0, 260.0, 48.0, 40.0, 14.0, 16.0


def found_over_examples(records: Sequence[Record]) -> str:
    """The part of the races in which the bug was found within so many examples."""
    found = sorted(record["examples"] for record in records if record["state"] == "found")
    longest = max([10, *(record.get("examples", 0) for record in records)])
    decades = math.log10(longest)

    def place(examples: float, part: float) -> tuple[float, float]:
        across = _WIDTH - _LEFT - _RIGHT
        high = _HEIGHT - _BELOW - _ABOVE
        return _LEFT + math.log10(max(1, examples)) / decades * across, _HEIGHT - _BELOW - part * high

    steps: list[tuple[float, float]] = [(1, 0)]
    for number, examples in enumerate(found, 1):
        steps += [(examples, (number - 1) / len(records)), (examples, number / len(records))]
    steps.append((longest, len(found) / len(records) if records else 0))
    parts = [line([place(1, 1), place(1, 0), place(longest, 0)], "#999")]
    parts += [line([place(*step) for step in steps], INK[0])]
    for power in range(int(decades) + 1):
        across, down = place(10**power, 0)
        parts.append(text(across, down + 16, f"{10**power:,}", anchor="middle"))
    for part in (0, 0.5, 1):
        parts.append(text(_LEFT - 6, place(1, part)[1] + 4, f"{part:.0%}", anchor="end"))
    parts.append(text((_LEFT + _WIDTH) / 2, _HEIGHT - 6, "examples of all laws together", anchor="middle"))
    said = f"{len(found)} of {len(records)} planted bugs found, over the examples that it took"
    return drawing(_WIDTH, _HEIGHT, parts, title=said)
