"""Known issues of extensions: what the writer has passed an item through, and the reader cannot undo."""

from __future__ import annotations

import re
from collections.abc import Callable

from worlds.entries import ObjectEntry
from worlds.operations import WriterOptions
from worlds.scenario import Scenario

from ..verdict import Breach, Verdict
from .entry import KnownIssue
from .unreadable import cannot_load

__all__ = ["ISSUES"]


def _cannot_undo(text: str, scenarios: Callable[[Scenario], bool]) -> Callable[[Verdict, Breach], bool]:
    return cannot_load(lambda error: re.search(text, error.message) is not None, scenarios)


def _are_undone_wrongly(scenario: Scenario) -> bool:
    extensions = scenario.writer.extensions
    return extensions != extensions[::-1]


def _cannot_be_told(scenario: Scenario) -> bool:
    return scenario.storage in ("fsspec", "memory") and not scenario.writer.known_to_torch


_ONE = (ObjectEntry("a"),)

ISSUES = (
    KnownIssue(
        id="extensions-undone-in-wrong-order",
        title="a reader undoes what two extensions have changed in the order in which they have changed it",
        loses="a checkpoint that was reported as saved, compressed and encrypted, cannot be loaded",
        scenario=Scenario(_ONE, writer=WriterOptions(extensions=("deflated", "inverted"))),
        matches=_cannot_undo("while decompressing data|zstd decompress error", _are_undone_wrongly),
    ),
    KnownIssue(
        id="fsspec-reader-without-extensions",
        title="FsspecWriter takes extensions of one's own, and FsspecReader no registry that has them",
        loses="a checkpoint that was reported as saved, and encrypted, cannot be loaded by that reader",
        scenario=Scenario(_ONE, writer=WriterOptions(extensions=("inverted",)), storage="fsspec"),
        matches=_cannot_undo("^Unknown extension name='stream", _cannot_be_told),
    ),
)
