"""``CheckpointableTensor``s in a script: local tensors with attributes that say which parts of a whole are in them."""

from __future__ import annotations

from worlds.entries import TensorEntry
from worlds.layouts import EnumerableSharding

from .plan import Name, Plan
from .text import Code, Items, indented, render

__all__ = ["local_checks", "local_helpers", "local_tensor"]

_LOCALLY = '''\
def locally(tensor, places):
    """A CheckpointableTensor of this rank's parts of ``tensor``: rank, where, how large, and where in the local one."""
    mine = [place for rank, *place in places if rank == dist.get_rank()]
    ends = [[a + b for a, b in zip(within, sizes, strict=True)] for _, sizes, within in mine]
    shape = [max(along) for along in zip(*ends, strict=True)] if mine else [0] * tensor.dim()
    local = tensor.new_empty(shape)
    for at, sizes, within in mine:
        part(local, within, sizes).copy_(part(tensor, at, sizes))
    local.global_shape = tuple(tensor.shape)
    local.global_offsets = tuple(at for at, _, _ in mine)
    local.local_offsets = tuple(within for _, _, within in mine)
    local.local_sizes = tuple(sizes for _, sizes, _ in mine)
    return local'''


def local_helpers() -> list[str]:
    """The function that makes such a tensor; it calls ``part``."""
    return [_LOCALLY]


def local_tensor(plan: Plan, entry: TensorEntry, layout: EnumerableSharding, name: Name, content: Code) -> Code:
    """The expression that makes the tensor of its ``content``."""
    members = plan.members(name)
    ranks = dict.fromkeys(tile.rank for tile in layout.tiles)
    within = {rank: iter(layout.local_boxes(entry.shape, rank)[1]) for rank in ranks}
    places = tuple(
        f"({members[tile.rank]}, {tile.offsets}, {tile.sizes}, {next(within[tile.rank]).offsets})"
        for tile in layout.tiles
    )
    return Items("locally(", (content, Items("[", places)))


def local_checks(key: str, place: str) -> list[str]:
    """Statements that compare each part on this rank of the tensor at ``place`` with what was saved under ``key``."""
    parts = f"zip({place}.global_offsets, {place}.local_offsets, {place}.local_sizes, strict=True)"
    arguments = (key, f"part({place}, within, sizes)", f"part(saved[{key}], offsets, sizes)", "offsets")
    return [f"for offsets, within, sizes in {parts}:", *indented([render(Items("check(", arguments))])]
