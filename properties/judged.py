"""How often what was judged: every feature of every kind of case, in the groups in which a run shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from strategies.case_features import CASE_FEATURES
from strategies.features import FEATURES, STAGING
from strategies.file_features import FILE_FEATURES
from strategies.misfit_features import MISFIT_FEATURES
from strategies.request_features import REQUEST_FEATURES
from strategies.training_features import TRAINING_FEATURES
from worlds.operations import STAGERS

__all__ = ["FEATURE_HITS", "JUDGED", "PLANNING_LAWS", "count_judged"]

PLANNING_LAWS = (
    "reads",
    "load plan",
    "dedup",
    "global plan",
    "conflict",
    "split",
    "validation",
    "comparison",
    "merge",
    "chunk spec",
    "enumerable spec",
    "offsets",
    "fully sharded",
    "local box",
    "flatten",
    "traverse",
    "paths",
    "flatten sharded tensors",
)
"""The laws of planning, as the functions that judge them are called."""

JUDGED: dict[str, tuple[str, ...]] = {
    **FEATURES,
    **CASE_FEATURES,
    **FILE_FEATURES,
    **REQUEST_FEATURES,
    **TRAINING_FEATURES,
    **MISFIT_FEATURES,
    "async_save in a process": (
        "the first",
        "the first of a new daemon",
        "a later one",
        "in place",
        "refused in place",
        "enable_plan_caching=True",
        *map(STAGING.__getitem__, STAGERS[1:]),
        "by the path alone",
        "by the storage alone",
    ),
    "two worlds": ("compared rank by rank", "a race, judged in each"),
    "planning": PLANNING_LAWS,
}
"""Every feature that a case can have, by group."""

FEATURE_HITS: Counter[tuple[str, str]] = Counter()
"""How often a case with each feature was judged in this process, by group and feature."""


def count_judged(features: Iterable[tuple[str, str]]) -> None:
    """Count a case that is judged, by its features."""
    FEATURE_HITS.update(features)
