"""The tensors of a state dict as the ranks hold them: plain, cut by a sharding spec, or on a device mesh."""

from __future__ import annotations

import math
from collections.abc import Iterator

from properties.violations import ChangedOutside, NotInPlace, WrongTensor
from worlds.entries import TensorEntry
from worlds.layouts import ChunkSharding, Layout, Memory, MeshSharding, Placement, Plain, Shard, StridedShard
from worlds.state_tree import Leaf

from .known import CannotWrite
from .plan import Name, Plan
from .text import Code, Items, headed, indented, quoted, render
from .values import dtype_arguments, shape_literal

__all__ = ["holds", "layout_of", "mesh_lines", "tensor_checks", "tensor_helpers", "tensor_overwrite", "tensor_value"]

_PART = '''\
def part(tensor, shard):
    """What ``tensor`` holds where ``shard`` is."""
    bounds = zip(shard.metadata.shard_offsets, shard.metadata.shard_sizes, strict=True)
    return tensor[tuple(slice(start, start + size) for start, size in bounds)]'''
_SHARD = '''\
def cut(tensor, spec{group_parameter}):
    """A ShardedTensor with what ``tensor`` holds."""
    sharded = {empty}
    for shard in sharded.local_shards():
        shard.tensor = {copy}
    return sharded'''
_DISTRIBUTED = '''\
def distributed(tensor, mesh, placements, arranged):
    """A DTensor whose local tensor lies in memory as ``arranged`` has it."""
    whole = distribute_tensor(tensor, mesh, placements, src_data_rank=None)
    if not whole.to_local().numel():
        return whole
    local, shape, stride = arranged(whole.to_local()), tensor.shape, tensor.stride()
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=shape, stride=stride)'''

_OVERWRITE = '''\
def overwrite(tensor):
    """What the next step of a training does: it writes to the memory of a tensor."""
    tensor.detach().untyped_storage().fill_(0xEE)'''

_MEMORIES: dict[Memory, str] = {
    "transposed": '''\
def transposed(tensor):
    """A copy whose dims lie in memory in the reverse order."""
    dims = tuple(reversed(range(tensor.dim())))
    return tensor.permute(dims).clone(memory_format=torch.contiguous_format).permute(dims)''',
    "strided": '''\
def strided(tensor):
    """A copy that is every second element of its storage."""
    memory = torch.empty((*tensor.shape, 2), dtype=tensor.dtype)
    return memory[..., 0].copy_(tensor)''',
    "window": '''\
def window(tensor):
    """A copy that lies in the midst of a larger storage."""
    memory = torch.empty(tensor.numel() + 2, dtype=tensor.dtype)
    return memory[1:-1].view(tensor.shape).copy_(tensor)''',
    "expanded": '''\
def expanded(tensor):
    """A copy of which all elements are one in memory."""
    return tensor.flatten()[0].clone().expand(tensor.shape)''',
    "conjugated": '''\
def conjugated(tensor):
    """A copy that lies in memory as its conjugate, with the bit that says so."""
    return tensor.conj_physical().conj()''',
    "negated": '''\
def negated(tensor):
    """A copy that lies in memory as its negative, with the bit that says so, as the imag of a conj() has it."""
    return torch._neg_view(tensor.neg())''',
    "gradient": '''\
def trained(tensor):
    """A copy that requires grad."""
    return tensor.clone().requires_grad_()''',
}
"""How a copy is made that lies in memory as asked."""


def layout_of(leaf: Leaf, name: Name) -> Layout:
    """How the ranks hold it in that operation, in which it is there."""
    layout = leaf.entry.layout(name)
    assert layout is not None
    return layout


def holds(plan: Plan, kind: str, name: Name | None = None) -> bool:
    """Whether a state dict, of the operation ``name`` if one is given, holds a tensor of that kind."""
    names = plan.names if name is None else (name,)
    return any(layout_of(leaf, each).kind == kind for each in names for leaf in plan.leaves(each))


def tensor_helpers(plan: Plan) -> list[str]:
    """The definitions that make the tensors of their content."""
    if plan.kind in (ChangedOutside, NotInPlace, WrongTensor):
        _check_simple(plan)
    helpers = [_OVERWRITE] if plan.overwrites and plan.tensors("save") else []
    helpers += [_MEMORIES[memory] for memory in dict.fromkeys(_memories(plan))]
    if plan.compares_content and holds(plan, "ShardedTensor"):
        helpers += [_PART, _shard_helper(plan)]
    layouts = [layout_of(leaf, name) for name in plan.names for leaf in plan.leaves(name)]
    if any(isinstance(layout, MeshSharding) and layout.memory != "contiguous" for layout in layouts):
        helpers.append(_DISTRIBUTED)
    return helpers


def _check_simple(plan: Plan) -> None:
    """Raise :class:`CannotWrite` for a tensor of which what is wrong cannot be shown."""
    assert plan.kind is not None
    if plan.has_containers(plan.last) and plan.replaced is None:
        raise CannotWrite(f"there is no script for a violation of the kind {plan.kind.__name__} beside a container yet")
    for leaf in plan.leaves(plan.last):
        layout = layout_of(leaf, plan.last)
        if layout.kind == "DTensor" or layout.memory != "contiguous":
            what = f"{layout.kind} in {layout.memory} memory"
            raise CannotWrite(f"there is no script for a violation of the kind {plan.kind.__name__} of a {what} yet")


def _memories(plan: Plan) -> Iterator[Memory]:
    for name in plan.names:
        for leaf in plan.leaves(name):
            memory = _memory(leaf, name)
            if memory != "contiguous":
                yield memory


def _memory(leaf: Leaf, name: Name) -> Memory:
    """How it lies in memory, which makes no difference where there is nothing in it."""
    layout = layout_of(leaf, name)
    empty = isinstance(leaf.entry, TensorEntry) and math.prod(leaf.entry.shape) == 0
    return "contiguous" if empty and layout.memory != "gradient" else layout.memory


def _function(memory: Memory) -> str:
    """The name of the function that makes a copy in that memory."""
    return _MEMORIES[memory].removeprefix("def ").partition("(")[0]


def _shard_helper(plan: Plan) -> str:
    in_group = any(plan.has_subgroup(name) for name in plan.names)
    group = ("process_group=group",) if in_group else ()
    empty = Items("sharded_tensor.empty(", ("spec", "tensor.shape", "dtype=tensor.dtype", *group))
    copy = "framed(part(tensor, shard))" if plan.kind is ChangedOutside else "part(tensor, shard).clone()"
    return _SHARD.format(group_parameter=", group=None" if in_group else "", empty=render(empty, indent=4), copy=copy)


def mesh_lines(plan: Plan) -> list[str]:
    """The device meshes, which every rank of the job has to make."""
    return [render(Items(f"{name} = DeviceMesh(", ('"cpu"', _ranks(mesh)))) for mesh, name in _meshes(plan).items()]


_Mesh = tuple[tuple[int, ...], tuple[int, ...]]


def _meshes(plan: Plan) -> dict[_Mesh, str]:
    """The variable of each mesh, by its shape and ranks."""
    layouts = [layout_of(leaf, name) for name in plan.names for leaf in plan.leaves(name)]
    meshes = dict.fromkeys(_mesh(layout) for layout in layouts if isinstance(layout, MeshSharding))
    return {mesh: "mesh" if index == 0 else f"mesh_{index + 1}" for index, mesh in enumerate(meshes)}


def _mesh(layout: MeshSharding) -> _Mesh:
    return layout.mesh, layout.mesh_ranks


def _ranks(mesh: _Mesh) -> Code:
    """The ranks of the mesh, as nested lists."""
    shape, ranks = mesh
    if len(shape) == 1:
        return Items("[", tuple(map(str, ranks)))
    step = len(ranks) // shape[0]
    rows = (ranks[start : start + step] for start in range(0, len(ranks), step))
    return Items("[", tuple(_ranks((shape[1:], row)) for row in rows))


def _spec(sharding: ChunkSharding) -> Code:
    ranks = sharding.ranks
    placements: Code
    if len(ranks) > 1 and len(set(ranks)) == 1:
        placements = f'["rank:{ranks[0]}/cpu"] * {len(ranks)}'
    elif len(ranks) > 3 and ranks == tuple(range(len(ranks))):
        placements = f'[f"rank:{{r}}/cpu" for r in range({len(ranks)})]'
    else:
        placements = Items("[", tuple(f'"rank:{rank}/cpu"' for rank in ranks))
    return Items("ChunkShardingSpec(", (str(sharding.dim), placements))


def _placement(placement: Placement) -> str:
    match placement:
        case Shard(dim):
            return f"Shard({dim})"
        case StridedShard(dim, factor):
            return f"_StridedShard({dim}, split_factor={factor})"
    return "Replicate()"


def tensor_value(plan: Plan, leaf: Leaf, name: Name, *, head: str) -> Code:
    """The tensor in the state dict of the operation, behind ``head``."""
    entry, layout = leaf.entry, layout_of(leaf, name)
    assert isinstance(entry, TensorEntry)
    content: Code
    if not plan.compares_content:
        make = "zeros" if math.prod(entry.shape) else "empty"  # torch cannot fill nothing with some dtypes
        content = Items(f"torch.{make}(", (shape_literal(entry), *dtype_arguments(entry)))
    else:
        saved = f"saved[{quoted(leaf.fqn)}]"
        content = saved if name == "save" else f"inverted({saved})"
    match layout:
        case ChunkSharding():
            return headed(head, _sharded(plan, entry, layout, name, content))
        case MeshSharding():
            return headed(head, _distributed(plan, leaf, layout, name, content))
        case Plain():
            return headed(head, _plain(plan, leaf, name, content))
    raise CannotWrite(f"there is no script for a scenario with {type(layout).__name__} yet")


def _sharded(plan: Plan, entry: TensorEntry, layout: ChunkSharding, name: Name, content: Code) -> Code:
    if plan.compares_content:
        group = ("group",) if plan.has_subgroup(name) else ()
        return Items("cut(", (content, _spec(layout), *group))
    group = ("process_group=group",) if plan.has_subgroup(name) else ()
    return Items("sharded_tensor.zeros(", (_spec(layout), *map(str, entry.shape), *dtype_arguments(entry), *group))


def _plain(plan: Plan, leaf: Leaf, name: Name, content: Code) -> Code:
    memory = _memory(leaf, name)
    if memory != "contiguous":
        return Items(f"{_function(memory)}(", (content,))
    if plan.kind is ChangedOutside and name == "load":
        assert isinstance(content, str)
        return f"framed({content})"
    return _kept(plan, name, content)


def _kept(plan: Plan, name: Name, content: Code) -> Code:
    """``content``, as a copy where the original must stay what it is."""
    if plan.compares_content and name == "save" and (plan.last == "save" or plan.overwrites):
        return f"{content}.clone()"
    return content


def _distributed(plan: Plan, leaf: Leaf, layout: MeshSharding, name: Name, content: Code) -> Code:
    mesh = _meshes(plan)[_mesh(layout)]
    placements = Items("[", tuple(map(_placement, layout.placements)))
    memory = _memory(leaf, name)
    if memory == "contiguous":
        return Items("distribute_tensor(", (_kept(plan, name, content), mesh, placements, "src_data_rank=None"))
    return Items("distributed(", (content, mesh, placements, _function(memory)))


def tensor_overwrite(leaf: Leaf, place: str) -> list[str]:
    """Statements that overwrite the tensor at ``place``, in the state dict that was saved."""
    kind = layout_of(leaf, "save").kind
    if kind == "ShardedTensor":
        return [f"for shard in {place}.local_shards():", "    overwrite(shard.tensor)"]
    return [f"overwrite({place}{'.to_local()' if kind == 'DTensor' else ''})"]


def tensor_checks(plan: Plan, leaf: Leaf, name: Name, place: str) -> list[str]:
    """Statements that compare the tensor at ``place`` with what was saved."""
    key, layout = quoted(leaf.fqn), layout_of(leaf, name)
    match layout:
        case ChunkSharding():
            arguments = (key, "shard.tensor", f"part(saved[{key}], shard)", "shard.metadata.shard_offsets")
            return [f"for shard in {place}.local_shards():", *indented([render(Items("check(", arguments))])]
        case MeshSharding():
            placements = Items("[", tuple(map(_placement, layout.placements)))
            whole = (f"saved[{key}]", _meshes(plan)[_mesh(layout)], placements, "src_data_rank=None")
            lines = [render(Items("expected = distribute_tensor(", whole))]
            return [*lines, render(Items("check(", (key, f"{place}.to_local()", "expected.to_local()")))]
    return [render(Items("check(", (key, place, f"saved[{key}]")))]
