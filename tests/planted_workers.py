"""Bugs in the torch of processes that a test starts, as the workers of a campaign."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from campaign.planted import plant as planting
from tests.planted_bugs import Bug

__all__ = ["plant_in_processes"]


def plant_in_processes(bugs: Sequence[Bug], directory: Path) -> Path:
    """Make ``directory`` one that plants the bugs in each Python process that has it in ``PYTHONPATH``."""
    lines = [Path(planting.__file__).read_text(encoding="utf-8"), "import sys"]
    for index, bug in enumerate(bugs):
        module, _, attribute = _place(bug.owner)
        owner = f"sys.modules[{module!r}]" + (f".{attribute}" if attribute else "")
        lines.append(f"import {module}")
        lines.append(f"plant_{index} = planted({owner}, {bug.function!r}, {bug.old!r}, {bug.new!r})")
        lines.append(f"plant_{index}.__enter__()")
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory


def _place(owner: object) -> tuple[str, str, str]:
    if isinstance(owner, type):
        return owner.__module__, ":", owner.__qualname__
    return str(vars(owner)["__name__"]), "", ""
