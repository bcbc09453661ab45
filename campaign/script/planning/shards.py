"""Scripts of what is wrong with how tensors are cut: the validation of metadata, sharding specs, and DTensors."""

from __future__ import annotations

from collections.abc import Sequence

from properties.planning.breach import AcceptedWrong, PlanBreach
from worlds.plans import Box, ChunkedShape, Cut, MeshLayout, Tiled, Validation, coordinate_of

from ..known import CannotWrite
from ..text import Code, Items, headed, render
from .section import Section, chunk_code, exit_if, size_code

__all__ = ["of_chunk_spec", "of_enumerable_spec", "of_fully_sharded", "of_local_box", "of_validation"]


def of_validation(case: Validation, breach: PlanBreach) -> Section:
    """``_validate_global_plan``: accepts what is no tiling, or refuses one."""
    tensors = [
        Items(f'"t{number}": TensorStorageMetadata(', _stored(tiled)) for number, tiled in enumerate(case.tensors)
    ]
    accepts = breach.kind is AcceptedWrong
    plans = "SavePlan([])" if case.plans == 1 else f"[SavePlan([])] * {case.plans}"
    lines = (
        render(Items("metadata = Metadata(", (Items("{", tuple(tensors)),))),
        f"errors = _validate_global_plan({f'[{plans}]' if case.plans == 1 else plans}, metadata)",
        exit_if("not errors", '"the chunks are accepted"') if accepts else exit_if("errors", 'f"refused: {errors}"'),
    )
    expected = "_validate_global_plan() names the tensors whose chunks do not tile them, and no others"
    return Section(expected, "it accepts the chunks" if accepts else str(_first(breach.seen)), lines)


def _first(found: object) -> object:
    return found[0] if isinstance(found, list) else found


def _stored(tiled: Tiled) -> tuple[Code, ...]:
    chunks = Items("[", tuple(map(chunk_code, tiled.boxes)))
    return "TensorProperties()", size_code(tiled.shape), chunks


def of_chunk_spec(case: ChunkedShape, breach: PlanBreach) -> Section:
    """``ChunkShardingSpec``: chunks are elsewhere than those of ``torch.chunk``."""
    assert isinstance(breach.expected, list)
    assert isinstance(breach.seen, list)
    lines = (
        f'spec = ChunkShardingSpec({case.dim}, ["rank:0/cpu"] * {case.chunks})',
        f"metadata = spec.build_metadata({size_code(case.shape)}, TensorProperties())",
        "found = [(shard.shard_offsets, shard.shard_sizes) for shard in metadata.shards_metadata]",
        render(headed("expected = ", Items("[", tuple(map(_placed, breach.expected))))),
        exit_if("found != expected", 'f"offsets and sizes are {found}, and should be {expected}"'),
    )
    expected = "ChunkShardingSpec.build_metadata() makes chunks that are inside of the tensor"
    seen = ", ".join(f"{list(box.sizes)} at {list(box.offsets)}" for box in breach.seen)
    return Section(expected, f"the chunks of {list(case.shape)} are {seen}", lines)


def _placed(box: Box) -> str:
    return f"({list(box.offsets)}, {list(box.sizes)})"


def of_enumerable_spec(case: Tiled, breach: PlanBreach) -> Section:
    """``EnumerableShardingSpec``: refuses a tiling."""
    if breach.kind is AcceptedWrong:
        raise CannotWrite("there is no script for a sharding spec that accepts what is no tiling yet")
    shards = (f'ShardMetadata({list(box.offsets)}, {list(box.sizes)}, "rank:0/cpu")' for box in case.boxes)
    lines = (
        render(Items("spec = EnumerableShardingSpec(", (Items("[", tuple(shards)),))),
        f"spec.build_metadata({size_code(case.shape)}, TensorProperties())",
    )
    return Section("EnumerableShardingSpec takes any tiling of a tensor", f"ValueError: {breach.seen}", lines)


def of_local_box(case: MeshLayout, breach: PlanBreach) -> Section:
    """What DCP takes for a rank's part of a ``DTensor`` are other elements than those it has."""
    return _of_box(case, breach, "as its placements cut it")


def of_fully_sharded(case: MeshLayout, breach: PlanBreach) -> Section:
    """What DCP takes for a rank's part is not what FSDP gives to it, which cuts the shards of tensor parallelism."""
    return _of_box(case, breach, "as FSDP cuts what tensor parallelism has cut")


def _of_box(case: MeshLayout, breach: PlanBreach, cut: str) -> Section:
    if not isinstance(breach.seen, Box):
        raise CannotWrite("there is no script for a DTensor whose offsets cannot be computed yet")
    rank = breach.subject if isinstance(breach.subject, int) else case.ranks[0]
    held = _indices(breach.expected) if isinstance(breach.expected, Box) else breach.expected
    arguments = (
        str(case.shape),
        str(case.mesh),
        str(list(coordinate_of(rank, case.mesh))),
        Items("[", tuple(map(_placement, case.placements))),
    )
    lines = (
        render(Items("sizes, offsets = _compute_local_shape_and_global_offset(", arguments)),
        "found = [list(range(at, at + size)) for at, size in zip(offsets, sizes, strict=True)]",
        f"held = {held}",
        exit_if("found != held", f'f"rank {rank} is said to have the indices {{found}}, and has {{held}}"'),
    )
    expected = f"_compute_local_shape_and_global_offset() says which elements of a DTensor a rank has, {cut}"
    return Section(expected, f"rank {rank} is said to have the indices {_indices(breach.seen)}, and has {held}", lines)


def _indices(box: Box) -> Sequence[list[int]]:
    return [list(range(at, at + size)) for at, size in zip(box.offsets, box.sizes, strict=True)]


def _placement(cut: Cut | None) -> str:
    if cut is None:
        return "Replicate()"
    return f"_StridedShard({cut.dim}, split_factor={cut.split})" if cut.split else f"Shard({cut.dim})"
