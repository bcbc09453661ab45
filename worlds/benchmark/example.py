"""The example that is timed: one scenario, and the body that every rank runs, the same in every column."""

from __future__ import annotations

from ..entries import TensorEntry
from ..layouts import ChunkSharding
from ..operations import Operation
from ..outcome import Hit, Returned
from ..program import run_rank
from ..scenario import Scenario

__all__ = ["Failed", "benchmark_scenario", "require", "save_and_load"]


class Failed(Exception):
    """A save or load of the benchmark did not return; the time that it took says nothing."""


def benchmark_scenario(world_size: int) -> Scenario:
    """A tensor of rows over all ranks, loaded in the reverse order, and a replicated tensor.

    That is what the module in torch's own ``test_checkpoint.py`` holds, resharded.
    """
    ranks = tuple(range(world_size))
    sharded = TensorEntry(
        "weight", (32, 8), saved=ChunkSharding(0, ranks), loaded=ChunkSharding(0, tuple(reversed(ranks)))
    )
    entries = (sharded, TensorEntry("bias", (16,)))
    return Scenario(entries=entries, save=Operation(world_size), load=Operation(world_size))


def save_and_load(scenario: Scenario, rank: int, path: str) -> None:
    """One example as that rank, in the default process group; a save returns when all ranks have saved."""
    hits: list[Hit] = []
    require(run_rank(scenario, "save", rank, path, hits))
    require(run_rank(scenario, "load", rank, path, hits))


def require(outcome: object) -> None:
    """Raise :class:`Failed` unless that rank's operation returned."""
    if not isinstance(outcome, Returned):
        raise Failed(f"no example to time, since a rank did not return: {outcome}")
