"""The tensors of a state dict as the ranks hold them: plain, in shards or blocks, or on a device mesh."""

from __future__ import annotations

import math

from properties.violations import ChangedOutside, NotInPlace, WrongTensor
from worlds.entries import TensorEntry
from worlds.layouts import ChunkSharding, EnumerableSharding, MeshSharding, Placement, Plain, Shard, StridedShard
from worlds.state_tree import Leaf

from .blocks import block_checks, block_helpers, tensor_in_blocks
from .known import CannotWrite
from .local_tensors import local_checks, local_helpers, local_tensor
from .memory import copy_function, layout_of, memory_helpers, memory_of
from .per_rank import is_everywhere
from .places import key_literal
from .plan import Name, Plan
from .shards import shard_checks, shard_helper, sharded_tensor
from .text import Code, Items, headed, quoted, render
from .values import dtype_arguments, shape_literal

__all__ = [
    "holds",
    "mesh_lines",
    "takes_accelerator",
    "tensor_checks",
    "tensor_helpers",
    "tensor_overwrite",
    "tensor_value",
]

_PART = '''\
def part(tensor, offsets, sizes):
    """What ``tensor`` holds from ``offsets`` on."""
    bounds = zip(offsets, sizes, strict=True)
    return tensor[tuple(slice(start, start + size) for start, size in bounds)]'''
_DISTRIBUTED = '''\
def distributed(tensor, mesh, placements, arranged):
    """A DTensor whose local tensor lies in memory as ``arranged`` has it."""
    whole = distribute_tensor(tensor, mesh, placements, src_data_rank=None)
    if not whole.to_local().numel():
        return whole
    local, shape, stride = arranged(whole.to_local()), tensor.shape, tensor.stride()
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=shape, stride=stride)'''

_ACCELERATOR = """\
if not torch.accelerator.is_available():
    print("This takes an accelerator, and there is none here.")
    sys.exit(2)
device = torch.empty(0, device=torch.accelerator.current_accelerator()).device"""

_OVERWRITE = '''\
def overwrite(tensor):
    """What the next step of a training does: it writes to the memory of a tensor."""
    tensor.detach().untyped_storage().fill_(0xEE)'''


def holds(plan: Plan, kind: str, name: Name | None = None) -> bool:
    """Whether a state dict, of the operation ``name`` if one is given, holds a tensor of that kind."""
    names = plan.names if name is None else (name,)
    return any(layout_of(leaf, each).kind == kind for each in names for leaf in plan.leaves(each))


def takes_accelerator(plan: Plan) -> bool:
    """Whether a tensor is on an accelerator, or what stages them takes one."""
    layouts = (layout_of(leaf, name) for name in plan.names for leaf in plan.leaves(name))
    return "pinned" in plan.scenario.save.stager or any(layout.device == "accelerator" for layout in layouts)


def tensor_helpers(plan: Plan) -> list[str]:
    """The definitions that make the tensors of their content."""
    if plan.kind in (ChangedOutside, NotInPlace, WrongTensor):
        _check_simple(plan)
    helpers = [_ACCELERATOR] if takes_accelerator(plan) else []
    helpers += [_OVERWRITE] if plan.overwrites and plan.tensors("save") else []
    helpers += memory_helpers(plan)
    cuts = plan.compares_content and holds(plan, "ShardedTensor")
    takes_parts = cuts or holds(plan, "Checkpointable") or holds(plan, "CheckpointableTensor")
    helpers += [_PART] if takes_parts else []
    helpers += [shard_helper(plan)] if cuts else []
    helpers += block_helpers(plan) if holds(plan, "Checkpointable") else []
    helpers += local_helpers() if holds(plan, "CheckpointableTensor") else []
    layouts = [layout_of(leaf, name) for name in plan.names for leaf in plan.leaves(name)]
    if any(isinstance(layout, MeshSharding) and layout.memory not in ("contiguous", "meta") for layout in layouts):
        helpers.append(_DISTRIBUTED)
    return helpers


def _check_simple(plan: Plan) -> None:
    """Raise :class:`CannotWrite` for a tensor of which what is wrong cannot be shown."""
    assert plan.kind is not None
    if plan.has_containers(plan.last) and plan.replaced is None:
        raise CannotWrite(f"there is no script for a violation of the kind {plan.kind.__name__} beside a container yet")
    for leaf in plan.leaves(plan.last):
        layout = layout_of(leaf, plan.last)
        simple = layout.kind in ("Tensor", "ShardedTensor") and layout.memory in ("contiguous", "meta")
        if not simple or layout.device == "accelerator":
            where = "on an accelerator" if simple else f"in {layout.memory} memory"
            what = f"{layout.kind} {where}"
            raise CannotWrite(f"there is no script for a violation of the kind {plan.kind.__name__} of a {what} yet")
        if not is_everywhere(plan, leaf, plan.last):
            raise CannotWrite(f"there is no script for a violation of the kind {plan.kind.__name__} on some ranks yet")


def mesh_lines(plan: Plan) -> list[str]:
    """The device meshes, which every rank of the job has to make."""
    return [
        render(Items(f"{name} = DeviceMesh(", (mesh[2], _ranks(*mesh[:2])))) for mesh, name in _meshes(plan).items()
    ]


_Mesh = tuple[tuple[int, ...], tuple[int, ...], str]


def _meshes(plan: Plan) -> dict[_Mesh, str]:
    """The variable of each mesh, by its shape and ranks, and what its device is."""
    layouts = [(layout_of(leaf, name), name) for name in plan.names for leaf in plan.leaves(name)]
    meshes = dict.fromkeys(_mesh(plan, layout, name) for layout, name in layouts if isinstance(layout, MeshSharding))
    return {mesh: "mesh" if index == 0 else f"mesh_{index + 1}" for index, mesh in enumerate(meshes)}


def _mesh(plan: Plan, layout: MeshSharding, name: Name) -> _Mesh:
    members = plan.members(name)
    device = '"cpu"' if layout.device == "cpu" else "device.type"
    return layout.mesh, tuple(members[rank] for rank in layout.mesh_ranks), device


def _ranks(shape: tuple[int, ...], ranks: tuple[int, ...]) -> Code:
    """The ranks of the mesh, as nested lists."""
    if len(shape) == 1:
        return Items("[", tuple(map(str, ranks)))
    step = len(ranks) // shape[0]
    rows = (ranks[start : start + step] for start in range(0, len(ranks), step))
    return Items("[", tuple(_ranks(shape[1:], row) for row in rows))


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
    on_device = ("device=device",) if layout.device == "accelerator" else ()
    content: Code
    if name == "save" and entry.key in plan.held:
        content = f"state_dict[{key_literal(entry.key)}].fill_({plan.fill})"
    elif plan.fill is not None:
        content = Items("torch.full(", (shape_literal(entry), plan.fill, f"dtype=torch.{entry.dtype}", *on_device))
    elif not plan.compares_content:
        make = "zeros" if math.prod(entry.shape) else "empty"  # torch cannot fill nothing with some dtypes
        content = Items(f"torch.{make}(", (shape_literal(entry), *dtype_arguments(entry), *on_device))
    else:
        saved = f"saved[{quoted(leaf.fqn)}]"
        content = saved if name == "save" else f"inverted({saved})"
        content += ".to(device)" if on_device else ""
    match layout:
        case EnumerableSharding(_, "Checkpointable"):
            return headed(head, tensor_in_blocks(plan, layout, name, content))
        case EnumerableSharding(_, "CheckpointableTensor"):
            return headed(head, local_tensor(plan, entry, layout, name, content))
        case ChunkSharding() | EnumerableSharding():
            return headed(head, sharded_tensor(plan, entry, layout, name, content))
        case MeshSharding():
            return headed(head, _distributed(plan, leaf, layout, name, content))
        case Plain():
            return headed(head, _plain(plan, leaf, name, content))


def _plain(plan: Plan, leaf: Leaf, name: Name, content: Code) -> Code:
    memory = memory_of(leaf, name)
    if memory != "contiguous":
        return Items(f"{copy_function(memory)}(", (content,))
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
    mesh = _meshes(plan)[_mesh(plan, layout, name)]
    placements = Items("[", tuple(map(_placement, layout.placements)))
    memory = memory_of(leaf, name)
    if memory == "contiguous":
        return Items("distribute_tensor(", (_kept(plan, name, content), mesh, placements, "src_data_rank=None"))
    if memory == "meta":  # also on the ranks that are not in the mesh
        whole = Items(f"{copy_function(memory)}(", (content,))
        return Items("distribute_tensor(", (whole, mesh, placements, "src_data_rank=None"))
    return Items("distributed(", (content, mesh, placements, copy_function(memory)))


def tensor_overwrite(leaf: Leaf, place: str) -> list[str]:
    """Statements that overwrite the tensor at ``place``, in the state dict that was saved."""
    kind = layout_of(leaf, "save").kind
    if kind == "ShardedTensor":
        return [f"for shard in {place}.local_shards():", "    overwrite(shard.tensor)"]
    if kind == "Checkpointable":
        return [f"for block in {place}.blocks.values():", "    overwrite(block)"]
    return [f"overwrite({place}{'.to_local()' if kind == 'DTensor' else ''})"]


def tensor_checks(plan: Plan, leaf: Leaf, name: Name, place: str) -> list[str]:
    """Statements that compare the tensor at ``place`` with what was saved."""
    key, layout = quoted(leaf.fqn), layout_of(leaf, name)
    match layout:
        case EnumerableSharding(_, "Checkpointable"):
            return block_checks(key, place)
        case EnumerableSharding(_, "CheckpointableTensor"):
            return local_checks(key, place)
        case ChunkSharding() | EnumerableSharding():
            return shard_checks(key, place)
        case MeshSharding():
            placements = Items("[", tuple(map(_placement, layout.placements)))
            whole = (f"saved[{key}]", _meshes(plan)[_mesh(plan, layout, name)], placements, "src_data_rank=None")
            lines = [render(Items("expected = distribute_tensor(", whole))]
            return [*lines, render(Items("check(", (key, f"{place}.to_local()", "expected.to_local()")))]
    return [render(Items("check(", (key, place, f"saved[{key}]")))]
