"""Whether a run of pytest is a whole one of the profile ``ci``, and what is amiss with what such a run has judged.

Each feature that a case can have is listed, and judged in such a run: what is claimed to be drawn is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from strategies.features import ACCELERATED
from worlds.checkpointable import HAS_CHECKPOINTABLE_TENSOR

from .judged import JUDGED

__all__ = ["is_whole", "lines_of_what_is_amiss"]

_AS_IT_IS = {
    "--world": "simulated",
    "--storage": None,
    "--planner": None,
    "--max-world-size": None,
    "keyword": "",
    "markexpr": "not slow and not commands",
    "deselect": None,
    "ignore": None,
    "ignore_glob": None,
    "lf": False,
    "maxfail": 0,
    "collectonly": False,
}
"""The options of pytest and of ours by which other laws would run, or fewer, or some of them otherwise."""


def is_whole(config: pytest.Config, profile: str) -> bool:
    """Whether it runs every law, each as it is."""
    whole = all((config.getoption(option, None) or None) == (usual or None) for option, usual in _AS_IT_IS.items())
    places = {Path(config.invocation_params.dir, argument).resolve() for argument in config.args}
    return profile == "ci" and whole and not places.isdisjoint((config.rootpath, config.rootpath / "properties"))


def lines_of_what_is_amiss(hits: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """The features that no case had which was judged, and those that are not listed.

    What the installed torch or the machine lacks, no case can have; and what is not listed may be a storage from
    elsewhere.
    """
    for group, names in JUDGED.items():
        missing = [name for name in names if not hits.get((group, name)) and not _is_lacking(name)]
        if missing:
            yield f"never judged, of {group}: {', '.join(missing)}"
        unlisted = [name for of, name in sorted(hits) if of == group and name not in names and ":" not in name]
        if unlisted:
            yield f"judged, and not listed, of {group}: {', '.join(unlisted)}"
    if others := sorted({group for group, _ in hits} - JUDGED.keys()):
        yield f"judged, and of no group that is listed: {', '.join(others)}"


def _is_lacking(name: str) -> bool:
    if name in ACCELERATED:
        return not torch.accelerator.is_available()
    return name.startswith("CheckpointableTensor") and not HAS_CHECKPOINTABLE_TENSOR
