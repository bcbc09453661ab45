"""ShardedTensors in a script: their specs, and how they are cut out of a tensor."""

from __future__ import annotations

import torch

from properties.violations import ChangedOutside
from worlds.dtypes import DTYPES
from worlds.entries import TensorEntry
from worlds.layouts import ChunkSharding, Device, EnumerableSharding, Tile

from .plan import Name, Plan
from .text import Code, Items, indented, render
from .values import dtype_arguments, shape_literal

__all__ = ["shard_checks", "shard_helper", "sharded_tensor"]

_CUT = '''\
def cut(tensor, spec{group_parameter}):
    """A ShardedTensor with what ``tensor`` holds."""
    sharded = {empty}
    for shard in sharded.local_shards():
        place = shard.metadata
        shard.tensor = {copy}
    return sharded'''


def shard_helper(plan: Plan) -> str:
    """The definition of the function that cuts; it calls ``part``."""
    in_group = any(plan.has_subgroup(name) for name in plan.names)
    group = ("process_group=group",) if in_group else ()
    empty = Items("sharded_tensor.empty(", ("spec", "tensor.shape", "dtype=tensor.dtype", *group))
    part = "part(tensor, place.shard_offsets, place.shard_sizes)"
    copy = f"framed({part})" if plan.kind is ChangedOutside else f"{part}.clone()"
    return _CUT.format(group_parameter=", group=None" if in_group else "", empty=render(empty, indent=4), copy=copy)


def sharded_tensor(
    plan: Plan, entry: TensorEntry, layout: ChunkSharding | EnumerableSharding, name: Name, content: Code
) -> Code:
    """The expression that makes the tensor, with ``content`` where it matters what it holds."""
    spec = _spec(layout, plan.members(name))
    if plan.compares_content:
        group = ("group",) if plan.has_subgroup(name) else ()
        return Items("cut(", (content, spec, *group))
    group = ("process_group=group",) if plan.has_subgroup(name) else ()
    if plan.fill is not None:
        dtype = f"dtype=torch.{entry.dtype}"
        return Items("sharded_tensor.full(", (spec, shape_literal(entry), plan.fill, dtype, *group))
    make = "zeros" if _can_fill(entry) else "empty"
    return Items(f"sharded_tensor.{make}(", (spec, *map(str, entry.shape), *dtype_arguments(entry), *group))


def _can_fill(entry: TensorEntry) -> bool:
    """Whether torch can fill tensors of that dtype, which it cannot with those that it can do little else with."""
    try:
        torch.empty(1, dtype=DTYPES[entry.dtype]).fill_(0)
    except NotImplementedError:
        return False
    return True


def _spec(layout: ChunkSharding | EnumerableSharding, members: tuple[int, ...]) -> Code:
    """The spec, which names ranks of the job."""
    if isinstance(layout, EnumerableSharding):
        return Items(
            "EnumerableShardingSpec(",
            (Items("[", tuple(_shard(tile, members, layout.device) for tile in layout.tiles)),),
        )
    return Items("ChunkShardingSpec(", (str(layout.dim), _placements(layout, members)))


def _shard(tile: Tile, members: tuple[int, ...], device: Device) -> Code:
    placement = _placement(members[tile.rank], device)
    return Items("ShardMetadata(", (str(list(tile.offsets)), str(list(tile.sizes)), placement))


def _placements(layout: ChunkSharding, members: tuple[int, ...]) -> Code:
    ranks = [members[rank] for rank in layout.ranks]
    if len(ranks) > 1 and len(set(ranks)) == 1:
        return f"[{_placement(ranks[0], layout.device)}] * {len(ranks)}"
    if len(ranks) > 3 and ranks == list(range(len(ranks))):
        of_any = _placement("{r}", layout.device).removeprefix("f")
        return f"[f{of_any} for r in range({len(ranks)})]"
    return Items("[", tuple(_placement(rank, layout.device) for rank in ranks))


def _placement(rank: int | str, device: Device) -> str:
    return f'"rank:{rank}/cpu"' if device == "cpu" else f'f"rank:{rank}/{{device}}"'


def shard_checks(key: str, place: str) -> list[str]:
    """Statements that compare each local shard of the tensor at ``place`` with what was saved under ``key``."""
    arguments = (key, "shard.tensor", f"part(saved[{key}], offsets, shard.tensor.shape)", "offsets")
    check = render(Items("check(", arguments))
    return [f"for shard in {place}.local_shards():", *indented(["offsets = shard.metadata.shard_offsets", check])]
