"""Known issues of planning a save: legal input that cannot be saved."""

from __future__ import annotations

import itertools
import math
import re

from worlds.entries import TensorEntry
from worlds.layouts import ChunkSharding, EnumerableSharding, Layout, MeshSharding, Shard, StridedShard, Tile
from worlds.operations import Operation
from worlds.outcome import ErrorRecord
from worlds.scenario import Scenario

from ..verdict import Breach, Verdict
from ..violations import BadChunks, UnexpectedFailure, WrongBits
from .alone import ends_alone, overshoots
from .entry import KnownIssue, blamed, operation_outcome, saved_tensors

__all__ = ["ISSUES"]

_ends_alone_behind, _ends_alone_sizeless = ends_alone("chunk-behind-the-end"), ends_alone("bits-dtypes")


def _coordinator_said(verdict: Verdict, breach: Breach) -> ErrorRecord | None:
    """What the save's coordinator alone is blamed for in 'plan', by all."""
    if breach.kind is not UnexpectedFailure or breach.operation != "save":
        return None
    named = blamed(operation_outcome(verdict, breach), "plan")
    coordinator = verdict.scenario.save.coordinator
    return named[coordinator] if set(named) == {coordinator} else None


def _refused_plan(verdict: Verdict, breach: Breach, what: str) -> bool:
    error = _coordinator_said(verdict, breach)
    text = re.compile(rf"Failed to validate global plan: key:.* {what}", re.DOTALL)
    return error is not None and error.type == "ValueError" and text.match(error.message) is not None


def _has_chunk_behind_the_end(verdict: Verdict, breach: Breach) -> bool:
    if not any(map(overshoots, saved_tensors(verdict.scenario))):
        return False
    if breach.kind is BadChunks:  # in what a rank makes of its state dict alone, without the coordinator's check
        return breach.headline.endswith(" is outside")
    return _refused_plan(verdict, breach, "has out of bounds chunk") or _ends_alone_behind(verdict, breach)


def _has_dtype_without_size(verdict: Verdict, breach: Breach) -> bool:
    error = _coordinator_said(verdict, breach)
    if error is None:
        return _ends_alone_sizeless(verdict, breach)
    said = error.type == "TypeError" and error.message.startswith("torch.iinfo() requires an integer input type")
    return said and any("bits" in entry.dtype for entry in saved_tensors(verdict.scenario))


def _takes_an_empty_chunk_for_another(verdict: Verdict, breach: Breach) -> bool:
    return _refused_plan(verdict, breach, "invalid fill tensor-volume") and any(
        map(_has_two_tiles_at_one_place, saved_tensors(verdict.scenario))
    )


def _has_two_tiles_at_one_place(entry: TensorEntry) -> bool:
    if not isinstance(entry.saved, EnumerableSharding):
        return False
    pairs = itertools.combinations(entry.saved.tiles, 2)
    return any(one.offsets == other.offsets and bool(one.box) != bool(other.box) for one, other in pairs)


def _takes_pieces_for_a_box(verdict: Verdict, breach: Breach) -> bool:
    scenario = verdict.scenario
    if breach.operation == "save":
        pieces = any(_in_pieces(entry.saved, entry.shape) for entry in saved_tensors(scenario))
        return pieces and _refused_plan(verdict, breach, "has overlapping chunks")
    tensors = (unit.tensor for unit in scenario.units("load") if unit.path == breach.path)
    return breach.kind is WrongBits and any(
        tensor is not None and _in_pieces(tensor.loaded, tensor.shape) for tensor in tensors
    )


def _in_pieces(layout: Layout | None, shape: tuple[int, ...]) -> bool:
    """Whether what some rank holds of it lies in several boxes, as that of a ``_StridedShard`` can."""
    if not isinstance(layout, MeshSharding):
        return False
    parts = (part for rank in range(math.prod(layout.mesh)) for part in layout.parts(shape, _held_by(layout, rank)))
    return any(len(list(part.boxes())) > 1 for part in parts)


def _held_by(layout: MeshSharding, place: int) -> int:
    return layout.ranks[place] if layout.ranks else place


ISSUES = (
    KnownIssue(
        id="chunk-behind-the-end",
        title="a tensor with fewer rows than its ChunkShardingSpec's equal chunks need cannot be saved",
        loses="a legal sharding cannot be checkpointed at all: 1 row over 3 ranks, 5 over 4, 9 over 8",
        scenario=Scenario(entries=(TensorEntry("a", (1,), saved=ChunkSharding(0, (0, 0, 0))),)),
        matches=_has_chunk_behind_the_end,
        upstream="pytorch/pytorch#121002",
    ),
    KnownIssue(
        id="bits-dtypes",
        title="a tensor of a bits dtype cannot be saved, although torch.save can: its size is asked of torch.iinfo",
        loses="a state dict with one such tensor cannot be checkpointed, whatever else it holds",
        scenario=Scenario(entries=(TensorEntry("a", dtype="bits8"),)),
        matches=_has_dtype_without_size,
    ),
    KnownIssue(
        id="empty-chunk-in-the-way",
        title="a chunk without elements that begins where another one does is saved in its place",
        loses="a tensor cannot be saved that is on one rank, and empty on another",
        scenario=Scenario(
            entries=(
                TensorEntry(
                    "a", (1,), saved=EnumerableSharding((Tile(0, (0,), (0,)), Tile(1, (0,), (1,))), "Checkpointable")
                ),
            ),
            save=Operation(2),
        ),
        matches=_takes_an_empty_chunk_for_another,
    ),
    KnownIssue(
        id="strided-shard-in-pieces",
        title="a DTensor's shard on three mesh dims that lies in several pieces is taken for one box",
        loses="9 rows over 2 × 2 × 2 cannot be saved, and whoever loads into them silently gets other rows",
        scenario=Scenario(
            entries=(TensorEntry("a", (9,), saved=MeshSharding((2, 2, 2), (StridedShard(0, 4), Shard(0), Shard(0)))),),
            save=Operation(8),
            load=Operation(8),
        ),
        matches=_takes_pieces_for_a_box,
    ),
)
