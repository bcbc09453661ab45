"""The files that a command reads and writes: in one line what is wrong with one, and never half of one."""

from __future__ import annotations

import os
from pathlib import Path

from worlds import InvalidScenario, Scenario

from .status import Refused

__all__ = ["read_scenario", "read_text", "write_text", "write_whole"]


def read_text(path: str | Path) -> str:
    """What is in the file; raises :class:`Refused` where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{path} is no text in UTF-8") from None


def read_scenario(path: str | Path) -> Scenario:
    """The scenario that ``Scenario.to_json()`` wrote; raises :class:`Refused` for anything else."""
    try:
        return Scenario.from_json(read_text(path))
    except InvalidScenario as error:
        raise Refused(f"{path}: {error}") from None


def write_text(path: str | Path, text: str) -> None:
    """Write the file for the user who named it; raises :class:`Refused` where that cannot be."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}") from None


def write_whole(path: Path, text: str) -> None:
    """Write the file so that whoever reads it, whenever the writer dies, sees all of it or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
