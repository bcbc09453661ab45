"""Strategies for how a save or a load is called: its ranks, API and options, and the order in which the ranks run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.operations import (
    STAGERS,
    UPLOADS,
    Api,
    Extension,
    NamedBy,
    Operation,
    PlannerOptions,
    Schedule,
    Stager,
    WriterOptions,
)

from ._bounds import MOST_RANKS, within_limit
from ._corners import favouring
from ._reused import orders, reused, sampled_from
from ._weighted import weighted
from .tensors import ranks, world_sizes

__all__ = ["operations", "planner_options", "schedules", "writer_options"]

# One API alone lets the coordinator be chosen.
_SAVES: tuple[Api, ...] = (
    "current",
    "current",
    "legacy",
    "legacy",
    "async",
    "async",
    "uncoordinated",
    "async uncoordinated",
)
_LOADS: tuple[Api, ...] = ("current", "legacy")
_STAGED: tuple[Api, ...] = ("async",)
_NAMED_BY: tuple[NamedBy, ...] = ("both", "both", "both", "storage")
_MOST_BYSTANDERS = 2
# Where in the world ranks that take no part stand, counted round; the simplest is rank 0, so that no rank of the group
# has in it the number that it has in the world. As many for any world, so that what is drawn behind keeps its place.
_STANDING = st.tuples(*[st.integers(0, MOST_RANKS)] * _MOST_BYSTANDERS)


@reused
def schedules(*, world_size: int) -> SearchStrategy[Schedule]:
    """Orders in which the ranks of a world run; shrinks towards the natural one."""
    any_order = orders(world_size).map(lambda order: () if order == sorted(order) else tuple(order))
    return st.builds(Schedule, favouring(st.just(()) | any_order, whole=1), st.booleans())


@reused
@st.composite
def operations(
    draw: DrawFn,
    *,
    min_world_size: int = 1,
    max_world_size: int = 8,
    load: bool = False,
    scheduled: bool = True,
    core: bool = False,
    staged: bool = False,
) -> Operation:
    """Saves, or with ``load`` loads: the ranks, the API, the coordinator where the API lets it be chosen, the schedule.

    Shrinks towards one rank that calls ``save`` or ``load``. One rank also runs without ``torch.distributed``
    initialised, or by itself (``no_dist``); several are also a sub-group of a larger world, or have their keys in
    another order on each rank. Some calls name the checkpoint by their storage alone. Without ``scheduled``, the ranks
    run in their natural order; with ``core``, all ranks of the world save or load together, and wait until it is done;
    with ``staged``, each save is an ``async_save``.
    """
    size = draw(world_sizes(min_size=min_world_size, max_size=max_world_size), label="world size")
    api = draw(sampled_from(_LOADS if load or core else _STAGED if staged else _SAVES), label="api")
    # All this is drawn for every size and API, so that nothing more has to be drawn, and what follows does not shift,
    # when one of those changes: in shrinking, and where Hypothesis makes one example of parts of another.
    coordinator = draw(ranks(world_size=size), label="coordinator, if legacy")
    alone = draw(sampled_from(("group", "group", "without", "no_dist")), label="if alone")
    bystanders = draw(sampled_from((0, 0, 0, 0, 1, _MOST_BYSTANDERS)), label="ranks that take no part")
    standing = draw(_STANDING, label="their places in the whole world")
    rotated = draw(sampled_from((False, False, False, True)), label="keys in another order")
    stagers = get_args(Stager) if torch.accelerator.is_available() else STAGERS
    stager = draw(sampled_from(stagers), label="stager, if async")
    named_by = draw(sampled_from(_NAMED_BY), label="named by, if not legacy")
    schedule = draw(schedules(world_size=size), label="schedule") if scheduled else Schedule()
    distributed = size > 1 or alone != "without"
    bystanders = within_limit(size + bystanders) - size
    return Operation(
        world_size=size,
        coordinator=coordinator if api == "legacy" else 0,
        api=api,
        distributed=distributed,
        schedule=schedule,
        members=_members(size, standing[:bystanders]) if bystanders > 0 and distributed and not core else (),
        no_dist=size == 1 and alone == "no_dist" and not core,
        rotated=rotated and not core,
        stager=stager if api in UPLOADS else "writer",
        named_by="both" if api == "legacy" else named_by,
    )


def _members(size: int, bystanders: Sequence[int]) -> tuple[int, ...]:
    """The ranks of a group of that size in a world that has, in those places, others too."""
    inside = [True] * size
    for place in bystanders:
        inside.insert(place % (len(inside) + 1), False)
    return tuple(rank for rank, is_inside in enumerate(inside) if is_inside)


# One pair alone, and all of them seldom: what two have changed cannot be read, which hides whatever else is wrong.
_EXTENSIONS: tuple[tuple[Extension, ...], ...] = (
    ("inverted",),
    ("deflated",),
    ("zstandard",),
    ("deflated", "inverted"),
)


@reused
def writer_options() -> SearchStrategy[WriterOptions]:
    """Options of the file system writer; shrinks towards its defaults, but for the fsync that no world needs."""
    options = st.builds(
        WriterOptions,
        single_file_per_rank=st.booleans(),
        sync_files=st.booleans(),
        thread_count=st.just(1) | st.integers(2, 4),
        per_thread_copy_ahead=st.sampled_from((10_000_000, 0)),
        overwrite=st.booleans(),
        extensions=weighted((5, st.just(())), (1, st.sampled_from(_EXTENSIONS))),
    )
    return favouring(st.just(WriterOptions()) | options, whole=1)


@reused
def planner_options() -> SearchStrategy[PlannerOptions]:
    """Options of the default planners; shrinks towards their defaults."""
    options = st.builds(
        PlannerOptions,
        flatten_state_dict=st.booleans(),
        flatten_sharded_tensors=st.booleans(),
        dedup_save_to_lowest_rank=st.booleans(),
        enable_plan_caching=st.booleans(),
        allow_partial_load=st.booleans(),
    )
    return favouring(st.just(PlannerOptions()) | options, whole=1)
