"""Plots: how far a campaign had come after how long, and how often what was covered."""

from __future__ import annotations

from collections.abc import Sequence

from .svg import INK, drawing, line, text

__all__ = ["over_time"]

_WIDTH, _HEIGHT, _LEFT, _BELOW = 460.0, 180.0, 62.0, 30.0


def over_time(points: Sequence[tuple[float, int]], what: str, number: int) -> str:
    """A line of how many there were after so many seconds."""
    points = [(0.0, 0), *points]
    longest = max(seconds for seconds, _ in points) or 1
    most = max(count for _, count in points) or 1

    def place(seconds: float, count: float) -> tuple[float, float]:
        return (
            _LEFT + seconds / longest * (_WIDTH - _LEFT - 12),
            _HEIGHT - _BELOW - count / most * (_HEIGHT - _BELOW - 14),
        )

    parts = [
        line([place(0, most), place(0, 0), place(longest, 0)], "#999"),
        line([place(*point) for point in points], INK[number % len(INK)]),
        text(_LEFT - 6, place(0, most)[1] + 4, f"{most:,}", anchor="end"),
        text(_LEFT - 6, place(0, 0)[1], "0", anchor="end"),
        text(_LEFT, _HEIGHT - 10, "0"),
        text(_WIDTH - 12, _HEIGHT - 10, _duration(longest), anchor="end"),
        text((_WIDTH + _LEFT) / 2, _HEIGHT - 10, f"{what} over time", anchor="middle"),
    ]
    return drawing(_WIDTH, _HEIGHT, parts, title=f"{what}: {most:,} after {_duration(longest)}")


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole / 3600:.1f} h"
