"""A bug in the torch of each Python process that is started anew, as the ranks and uploaders of the process world."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .bug import Bug

__all__ = ["plant_in_new_processes", "planting_site"]

_ROOT = Path(__file__).parents[2]


def planting_site(bug: Bug | None, directory: Path) -> Path:
    """Let the directory be one that plants the bug, if there is one, in each Python process that has it in its path.

    Python imports ``sitecustomize`` before all else. A process in which the bug cannot be planted does not go on. That
    one in which none is planted has imported the same as others.
    """
    directory.mkdir(parents=True, exist_ok=True)
    chosen = "" if bug is None else f"    holding = plant(CATALOGUE[{bug.id!r}])\n    holding.__enter__()\n"
    (directory / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"sys.path.insert(1, {str(_ROOT)!r})\n"
        "try:\n"
        "    from campaign.planted.bug import plant\n"
        "    from campaign.planted.catalogue import CATALOGUE\n"
        f"{chosen}"
        "except BaseException as error:\n"
        "    print(error, file=sys.stderr)\n"
        "    os._exit(1)\n",
        encoding="utf-8",
    )
    return directory


def plant_in_new_processes(bug: Bug, directory: Path) -> None:
    """Let every Python process that this one starts from now on have the bug. ``directory`` holds what does it."""
    planting_site(bug, directory)
    sys.path.insert(0, str(directory))  # the process world hands its path on
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))
