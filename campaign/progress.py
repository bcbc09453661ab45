"""What a person who looks at a campaign sees: how far it is, law by law, and what it has found."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from typing import TextIO

import click

from .engine import Engine
from .tally import Tally

__all__ = ["Progress", "law_lines", "status_line"]


def status_line(engine: Engine) -> str:
    """The campaign in one line."""
    tally = engine.tally
    seconds = max(time.monotonic() - engine.started, 0.001)
    rate = (tally.examples - engine.examples_before) / seconds
    left = max(0, round(engine.left))
    parts = [
        f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left",
        f"{tally.examples} examples ({rate:.0f}/s)",
        f"{tally.behaviours} behaviours",
        f"{len(engine.new)} new",
        f"{len(tally.known)} known issues met",
    ]
    if tally.lost:
        parts.append(f"{len(tally.lost)} units lost")
    return ", ".join(parts)


def law_lines(tally: Tally) -> Iterator[str]:
    """A line for each law that has run."""
    yield f"{'law':26} {'examples':>9} {'per s':>7} {'time':>6} {'behaviours':>10} {'known':>7} {'new':>5}"
    whole = sum(law.seconds for law in tally.laws.values()) or 1
    for name, law in sorted(tally.laws.items()):
        rate = law.examples / law.seconds if law.seconds else 0
        yield (
            f"{name:26} {law.examples:9} {rate:7.1f} {law.seconds / whole:6.1%} {len(law.behaviours):10} "
            f"{sum(law.known.values()):7} {len(law.violations):5}"
        )


class Progress:
    """Shows an engine: on a terminal a table that is drawn over, elsewhere a line from time to time."""

    def __init__(self, *, interval: float | None = None) -> None:
        self._stream: TextIO = sys.stderr
        self._live = self._stream.isatty()
        self._interval = interval if interval is not None else (1 if self._live else 30)
        self._shown = time.monotonic()
        self._drawn = 0
        self._told: set[str] = set()

    def __call__(self, engine: Engine) -> None:
        """Show what there is to show now."""
        for name, finding in engine.tally.findings.items():
            if name not in self._told and name in engine.new:
                self._told.add(name)
                self._say(f"NEW {name}: {finding.headline}")
        if time.monotonic() - self._shown < self._interval:
            return
        self._shown = time.monotonic()
        if not self._live:
            self._say(status_line(engine))
            return
        size = shutil.get_terminal_size()
        lines = [status_line(engine), *law_lines(engine.tally)][: max(4, size.lines - 2)]
        self.erase()
        # A line that the terminal breaks would be two to go up.
        self._stream.write("".join(f"{line[: size.columns - 1]}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)

    def erase(self) -> None:
        """Take the table away."""
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _say(self, line: str) -> None:
        self.erase()
        click.echo(line, file=self._stream)
