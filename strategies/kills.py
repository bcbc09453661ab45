"""Strategies for ranks that die: which, where, and over what."""

from __future__ import annotations

from typing import Literal

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.killed import Kill, KilledScenario, kill_places

from ._bounds import check_bounds, check_rank
from ._reused import sampled_from
from ._telling import tell
from .case_features import case_features
from .tensors import ranks
from .whole import scenarios

__all__ = ["killed_scenarios", "kills"]


def kills(
    *, operation: Literal["save", "load"], world_size: int, min_kills: int = 1, max_kills: int = 2
) -> SearchStrategy[tuple[Kill, ...]]:
    """Deaths of ``min_kills`` to ``max_kills`` ranks, as far as there are as many, each at a place of its own.

    At any hook of the storage and the planner, before it or when it is done, so between the phases too, and at any
    operation on files, in the middle of one too. Shrinks towards rank 0, which dies as soon as it begins.
    """
    check_rank("rank", 0, world_size)
    check_bounds("kills", min_kills, max_kills)
    most = min(max_kills, world_size)
    one = _kills(operation, world_size)
    deaths = st.lists(one, min_size=min(min_kills, most), max_size=most, unique_by=lambda kill: kill.rank)
    return deaths.map(tuple)


@st.composite
def _kills(draw: DrawFn, operation: Literal["save", "load"], world_size: int) -> Kill:
    rank = draw(ranks(world_size=world_size), label="rank")
    place = draw(sampled_from(kill_places(operation)), label="place")
    # A small file takes some hundreds of bytes, most of them around its data. All three are drawn for each place, so
    # that what follows does not shift where the place shrinks.
    written = draw(st.integers(0, 2000), label="bytes, if it dies writing")
    calls = draw(sampled_from((0, 0, 0, 1, 2)), label="calls, if it dies elsewhere")
    done = draw(st.booleans(), label="when the call is done")
    return Kill(rank, place, written) if place == "file.write" else Kill(rank, place, calls, done)


@st.composite
def killed_scenarios(draw: DrawFn, *, max_world_size: int = 4, max_entries: int = 3) -> KilledScenario:
    """A save over, or beside, an earlier checkpoint, or a load, in which ranks die; shrinks towards a save beside one.

    To save over an earlier checkpoint is what a job does that keeps only the last one.
    """
    check_bounds("world_size", 1, max_world_size)
    check_bounds("entries", 0, max_entries)
    operation: Literal["save", "load"] = draw(sampled_from(("save", "save", "load")), label="operation")
    path: Literal["another", "same"] = draw(sampled_from(("another", "same", "same")), label="path")
    some = scenarios(failing="nothing", max_world_size=max_world_size, max_entries=max_entries, core=True)
    scenario = draw(some, label="scenario")
    size = scenario.operation(operation).world_size
    deaths = draw(kills(operation=operation, world_size=size), label="kills")
    killed = KilledScenario(scenario, deaths, operation, path if operation == "save" else "another")
    tell(case_features(killed))
    return killed
