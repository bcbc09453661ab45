"""Drawings as SVG text to stand in a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["COLOURS", "INK", "colour", "drawing", "line", "rectangle", "text"]

COLOURS = ("#8ac6e8", "#f0b840", "#6fcfae", "#e5b3d0", "#c9d64f", "#f2a27a", "#c8c8c8", "#a9b0f0")
"""Light enough for text upon them; a number stands there too, for those who do not tell all of them apart."""


INK = ("#0072b2", "#b05a00", "#007a58")
"""For lines."""


def colour(number: int) -> str:
    """One of :data:`COLOURS`."""
    return COLOURS[number % len(COLOURS)]


def drawing(width: float, height: float, parts: Sequence[str], *, title: str) -> str:
    """The whole, that shrinks with the window; ``title`` is for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def rectangle(
    x: float, y: float, width: float, height: float, fill: str, *, title: str = "", stroke: str = "#333"
) -> str:
    """A rectangle with a border; a mouse over it shows its title."""
    inside = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" stroke="{stroke}" '
        f'stroke-width="1">{inside}</rect>'
    )


def text(x: float, y: float, said: str, *, anchor: str = "start", size: int = 12, fill: str = "#222") -> str:
    """A line of text."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{escape(said)}</text>'


def line(points: Sequence[tuple[float, float]], stroke: str) -> str:
    """A line through all points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="2"/>'
