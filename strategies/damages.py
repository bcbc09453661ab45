"""Strategies for damage to a checkpoint after it was saved."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from worlds.damage import Damage, DamageKind
from worlds.fitting import fitted, tensors_alone
from worlds.scenario import Scenario
from worlds.storages import FILE_SYSTEM, limits_of

from ._bounds import check_bounds
from ._reused import sampled_from
from ._spared import SPARED
from ._telling import tell
from .case_features import damage_features
from .features import features
from .whole import scenarios

__all__ = ["damaged_scenarios", "damages"]

_MOST_BYTES = 8191  # of a file, which counts round: more than a small tensor and what is around it take

# What befalls a file with data, or the metadata, the simplest first.
_KINDS: tuple[tuple[DamageKind, bool], ...] = (
    ("missing", False),
    ("missing", True),
    ("truncated", False),
    ("truncated", True),
    ("flipped", False),
    ("flipped", False),
    ("flipped", True),
    ("swapped", False),
    ("stale", False),
    ("stale", True),
    ("left over", False),
)


# DCP's own files more often, since they can come to harm in more ways.
_STORAGES = (FILE_SYSTEM, FILE_SYSTEM, FILE_SYSTEM, "fsspec", "safetensors", "consolidated", "threaded", "whole")
_BITS = [(bit, special) for special in (False, True) for bit in range(8)]


@st.composite
def damages(draw: DrawFn, *, min_damages: int = 1, max_damages: int = 2) -> tuple[Damage, ...]:
    """What befalls a checkpoint: ``min_damages`` to ``max_damages`` times something, of any kind and to any file.

    Shrinks towards one file that is missing, the first. Bits are flipped in the elements of tensors as often as
    anywhere else in a file, since nobody looks there, and most of a small file is what is around them; and in the names
    of files in the metadata, which say where everything is.
    """
    check_bounds("damages", min_damages, max_damages)
    return tuple(draw(st.lists(_damages(), min_size=min_damages, max_size=max_damages), label="damages"))


@st.composite
def _damages(draw: DrawFn) -> Damage:
    # As few choices as it takes, and as many for each kind: what has more, Hypothesis does not always leave out.
    kind, metadata = draw(sampled_from(_KINDS), label="kind, and whether of the metadata")
    file = draw(st.integers(0, 7), label="file")
    byte = draw(st.integers(0, _MOST_BYTES), label="byte, or how far the other file is behind it")
    bit, special = draw(sampled_from(_BITS), label="bit, and whether inside or nothing left")
    damage = Damage(kind, 0 if metadata else file, metadata)
    if kind == "flipped":
        return replace(damage, byte=byte, bit=bit, inside=special)
    if kind == "truncated":
        return replace(damage, byte=0 if special else byte)
    return replace(damage, other=byte % 7 + 1) if kind == "swapped" else damage


@st.composite
def damaged_scenarios(draw: DrawFn, *, max_world_size: int = 8, max_entries: int = 3) -> Scenario:
    """Saves without failures, and a load after the checkpoint was damaged; shrinks towards one missing file, or none.

    On DCP's own files, written by its file system or by fsspec, and on files of safetensors, which have their metadata
    in themselves, so that what is to befall the metadata befalls a file, and which hold tensors alone. Saves without
    collectives are left out: each rank has metadata of its own there, and nobody is named in a load. In one of sixteen
    nothing is damaged after all.
    """
    # First, since a smaller world takes fewer draws: what is drawn behind it would be something else.
    storage = draw(sampled_from(_STORAGES), label="storage")
    done = draw(damages(), label="damages")
    if draw(SPARED, label="nothing is damaged after all"):
        done = ()
    least = int(any(not damage.metadata for damage in done))  # without an entry there is no file with data
    scenario = draw(
        scenarios(failing="nothing", max_world_size=max_world_size, min_entries=least, max_entries=max_entries),
        label="scenario",
    )
    if not scenario.save.coordinated:
        scenario = replace(scenario, save=scenario.save.with_collectives)
    scenario = replace(scenario, writer=replace(scenario.writer, extensions=()))
    if not limits_of(storage).metadata:
        options = replace(scenario.planner, flatten_state_dict=True)  # without it, a dict is an object
        scenario = replace(scenario, entries=tensors_alone(scenario.entries), planner=options)
        done = tuple(replace(damage, metadata=False) for damage in done)
    damaged = replace(fitted(scenario, storage), damages=done)
    tell(features(damaged) | damage_features(damaged))
    return damaged
