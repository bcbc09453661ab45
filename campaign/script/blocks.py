"""Tensors in a script that are checkpointable by DCP's own protocol: each says which blocks of it a rank holds."""

from __future__ import annotations

from worlds.layouts import EnumerableSharding

from .memory import layout_of
from .plan import Name, Plan
from .text import Code, Items, indented, render

__all__ = ["block_checks", "block_helpers", "tensor_in_blocks"]

_CLASS = '''\
class Blocks(torch.Tensor):
    """Says itself what this rank holds of a tensor, as torch.distributed._checkpointable has it."""

    @staticmethod
    def __new__(cls, shape, dtype, blocks):
        tensor = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype)
        tensor.blocks = blocks
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
{dispatch}
{write_items}
    def __create_chunk_list__(self):
        placed = self.blocks.items()
        return [ChunkStorageMetadata(torch.Size(at), block.shape) for at, block in placed]

    def __get_tensor_shard__(self, index):
        return self.blocks[index.offset]'''
_WRITE_ITEMS = """
    def __create_write_items__(self, fqn, tensor):
        properties = TensorProperties(dtype=self.dtype)
        return [
            WriteItem(
                index=MetadataIndex(fqn, chunk.offsets),
                type=WriteItemType.SHARD,
                tensor_data=TensorWriteData(chunk=chunk, properties=properties, size=self.size()),
            )
            for chunk in self.__create_chunk_list__()
        ]
"""
_NOT_MADE = """\
        raise NotImplementedError(f"{func} of a checkpointable tensor")"""
_BLOCK_BY_BLOCK = """\
        if {is_other}:
            raise NotImplementedError(f"{{func}} of a checkpointable tensor")
        (tensor, *others), options = args, kwargs or {{}}
{makes}        return cls(tensor.shape, tensor.dtype, blocks)"""
_MAKES = """\
        blocks = {at: func(block, *others, **options) for at, block in tensor.blocks.items()}
"""
_MAKES_NEW = """\
        blocks = {}
        for at, block in tensor.blocks.items():
            shape = [block.shape] if func.name() == "aten::new_empty" else others
            blocks[at] = func(block, *shape, **options)
"""
_IN_BLOCKS = '''\
def in_blocks(tensor, places):
    """This rank's blocks of ``tensor``, of all that have a place: their ranks, offsets and sizes."""
    mine = [(at, sizes) for rank, at, sizes in places if rank == dist.get_rank()]
    blocks = {at: part(tensor, at, sizes).clone() for at, sizes in mine}
    return Blocks(tensor.shape, tensor.dtype, blocks)'''


def block_helpers(plan: Plan) -> list[str]:
    """The definitions of the class, and of the function that makes one of a tensor; it calls ``part``."""
    is_saved = any(layout_of(leaf, "save").kind == "Checkpointable" for leaf in plan.leaves("save"))
    return [_CLASS.format(dispatch=_dispatch(plan), write_items=_WRITE_ITEMS if is_saved else ""), _IN_BLOCKS]


def _dispatch(plan: Plan) -> str:
    """What torch can do with such a tensor, of what this script asks of it."""
    save = plan.scenario.save
    operators = ["clone", "detach", "zeros_like"] if save.uploads else []
    if save.uploads and save.stager != "writer":
        operators = ["clone", "detach", "new_empty"]
    elif plan.scenario.container == "module":
        operators = operators or ["detach"]
    if not operators:
        return _NOT_MADE
    names = [f'"aten::{name}"' for name in operators]
    is_other = f"func.name() != {names[0]}" if len(names) == 1 else f"func.name() not in ({', '.join(names)})"
    return _BLOCK_BY_BLOCK.format(is_other=is_other, makes=_MAKES_NEW if "new_empty" in operators else _MAKES)


def tensor_in_blocks(plan: Plan, layout: EnumerableSharding, name: Name, content: Code) -> Code:
    """The expression that makes the tensor of its ``content``."""
    members = plan.members(name)
    places = tuple(f"({members[tile.rank]}, {tile.offsets}, {tile.sizes})" for tile in layout.tiles)
    return Items("in_blocks(", (content, Items("[", places)))


def block_checks(key: str, place: str) -> list[str]:
    """Statements that compare each block on this rank of the tensor at ``place`` with what was saved under ``key``."""
    check = render(Items("check(", (key, "block", f"part(saved[{key}], offsets, block.shape)", "offsets")))
    return [f"for offsets, block in {place}.blocks.items():", *indented([check])]
