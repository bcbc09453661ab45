"""Strategies for calls of DCP with an argument that they cannot have."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from worlds.entries import Entry, ObjectEntry, TensorEntry
from worlds.layouts import MeshSharding, Plain, Shard
from worlds.misuses import CALLS, OF_GROUP, OF_SOME, Kind, Misuse, Name, kinds_of
from worlds.operations import Api, Operation

from ._reused import sampled_from
from ._several import several
from ._telling import tell
from .calls import schedules
from .case_features import case_features
from .failures import failing_ranks
from .tensors import world_sizes

__all__ = ["misuses"]

_CALLS: tuple[tuple[Name, Api], ...] = tuple((name, api) for name, apis in CALLS.items() for api in apis)
_HELD = ("plain", "sharded", "object")


@st.composite
def misuses(draw: DrawFn, *, max_world_size: int = 4) -> Misuse:
    """Saves and loads in which some ranks, or all, give an argument of any kind that is wrong, and the others none.

    Shrinks towards a save by one rank that names no checkpoint. What is saved is plain: a tensor, its shards, and an
    object, or nothing. The ranks that are wrong are drawn as those that fail are, with all of them, the coordinator
    alone and all but it among them.
    """
    name, api = draw(sampled_from(_CALLS), label="call")
    kind = draw(sampled_from(kinds_of(name, api)), label="kind")
    drawn = draw(world_sizes(max_size=max_world_size), label="world size")
    size = max(2, drawn) if kind in OF_SOME or kind == "no_dist" else drawn
    wrong = _ranks(kind, name, size, draw(failing_ranks(world_size=size), label="ranks that are wrong"))
    schedule = draw(schedules(world_size=size), label="schedule")
    over = draw(st.booleans(), label="over a checkpoint, if a save")
    alone = draw(sampled_from((False, False, True)), label="without a group, if alone")
    held = draw(several(st.sampled_from(_HELD), min_size=0, max_size=3, unique_by=lambda each: each), label="held")
    distributed = size > 1 or not alone or kind in OF_GROUP
    whole = not distributed or kind in ("group of others", "no_dist")
    misuse = Misuse(
        kind,
        name,
        Operation(size, api=api, distributed=distributed, schedule=schedule),
        wrong,
        tuple(_entry(each, size, whole=whole) for each in held),
        over=name == "save" and (over or kind == "over a checkpoint"),
    )
    tell(case_features(misuse))
    return misuse


def _ranks(kind: Kind, name: Name, size: int, drawn: frozenset[int]) -> tuple[int, ...]:
    """The ranks that are wrong: ``()`` for all, but of what is wrong on some alone all but the first of them."""
    ranks = tuple(sorted(drawn))
    if kind == "no_dist" and name == "save":
        return ranks[-1:]
    if len(ranks) < size:
        return ranks
    return ranks[1:] if kind in OF_SOME else ()


def _entry(held: str, size: int, *, whole: bool) -> Entry:
    if held == "object":
        return ObjectEntry("o", (1, "x"))
    if held == "plain" or whole:
        return TensorEntry(held[0], (2,), saved=Plain(), loaded=Plain())
    shards = MeshSharding((size,), (Shard(0),))
    return TensorEntry("s", (size,), saved=shards, loaded=shards)
