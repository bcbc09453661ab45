"""One law on several workers: a pytest parameter that gives each part of its examples a seed of its own."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import seed, settings

__all__ = ["SHARDS", "seed_shard", "shard_seed", "sharded"]

SHARDS = 4
"""Into how many parts a law is cut; fixed, so that the examples do not depend on the machine."""

sharded = pytest.mark.parametrize("shard", range(SHARDS), ids="shard-{}".format)
"""Marks a law. Hypothesis's ``max_examples`` counts for each shard."""


def shard_seed(function: Any, shard: int) -> int:
    """The seed that a part of a law's examples has in each run."""
    return zlib.crc32(f"{function.__module__}.{function.__qualname__} {shard}".encode())


def seed_shard(item: pytest.Item) -> None:
    """Where a profile is derandomized, let the shard draw other examples than its siblings, the same in each run.

    Hypothesis would derive one seed for all of them, from the function that they have in common.
    """
    shard = getattr(item, "callspec", None) and item.callspec.params.get("shard")  # type: ignore[attr-defined]
    if shard is not None and settings.default is not None and settings.default.derandomize:
        function = item.function  # type: ignore[attr-defined]
        seed(shard_seed(function, shard))(function)
