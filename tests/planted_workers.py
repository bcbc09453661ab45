"""Planted bugs of the catalogue, and any in the torch of processes that a test starts, as the workers of a campaign."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from campaign.planted import plant as planting
from campaign.planted.bug import Bug, Change, Witness
from campaign.planted.catalogue import CATALOGUE
from properties.ledger import torch_release

__all__ = ["BLIND", "DROPPED", "OF_THIS_TORCH", "plant_in_processes"]

OF_THIS_TORCH = [bug for bug in CATALOGUE.values() if bug.applies_to(torch_release())]

DROPPED = CATALOGUE["dropped-write-item"]
BLIND = Bug(
    "",
    "plans are never found to differ",
    (Change("planner_helpers:_compare_save_plans", "return False", "return True"),),
    Witness("comparison", None),
)


def plant_in_processes(bugs: Sequence[Bug], directory: Path) -> Path:
    """Make ``directory`` one that plants the bugs in each Python process that has it in ``PYTHONPATH``."""
    lines = [Path(planting.__file__).read_text(encoding="utf-8"), "import sys"]
    changes = [change for bug in bugs for change in bug.changes if change.is_for(torch_release())]
    for index, change in enumerate(changes):
        owner, name = change.target()
        module = owner.__module__ if isinstance(owner, type) else owner.__name__
        place = f"sys.modules[{module!r}]" + (f".{owner.__qualname__}" if isinstance(owner, type) else "")
        lines.append(f"import {module}")
        lines.append(f"plant_{index} = planted({place}, {name!r}, {change.old!r}, {change.new!r})")
        lines.append(f"plant_{index}.__enter__()")
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory
