"""What a verb is about: an entry of a ledger by its id, a finding by its directory or file, or a scenario's file."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from properties.ledger import LedgerEntry
from properties.summary import ENTRIES
from worlds import Scenario

from .files import read_scenario, read_text
from .finding import Finding, read_finding
from .status import Refused

__all__ = ["subject"]


def subject(what: str) -> LedgerEntry | Finding | Scenario:
    """What it names; raises :class:`Refused`."""
    if what in ENTRIES:
        return ENTRIES[what]
    path = Path(what)
    if not path.exists():
        raise Refused(f"{what!r} is neither a file nor a known issue: `dcp-stress known` lists them")
    if path.is_dir() or _is_finding(path):
        return read_finding(path)
    return read_scenario(path)


def _is_finding(path: Path) -> bool:
    with contextlib.suppress(ValueError):
        return "law" in json.loads(read_text(path))
    return False
