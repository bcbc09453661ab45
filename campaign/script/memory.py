"""How tensors lie in memory: the functions of a script that make copies which lie there as asked."""

from __future__ import annotations

import math
from collections.abc import Iterator

from worlds.entries import TensorEntry
from worlds.layouts import Layout, Memory
from worlds.state_tree import Leaf

from .plan import Name, Plan

__all__ = ["copy_function", "layout_of", "memory_helpers", "memory_of"]

_MEMORIES: dict[Memory, str] = {
    "transposed": '''\
def transposed(tensor):
    """A copy whose dims lie in memory in the reverse order."""
    dims = tuple(reversed(range(tensor.dim())))
    return tensor.permute(dims).clone(memory_format=torch.contiguous_format).permute(dims)''',
    "strided": '''\
def strided(tensor):
    """A copy that is every second element of its storage."""
    memory = tensor.new_empty((*tensor.shape, 2))
    return memory[..., 0].copy_(tensor)''',
    "window": '''\
def window(tensor):
    """A copy that lies in the midst of a larger storage."""
    memory = tensor.new_empty(tensor.numel() + 2)
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
    "meta": '''\
def on_meta(tensor):
    """A tensor on the meta device, in whose place the load is to put one."""
    return tensor.to("meta")''',
}
"""How a copy is made that lies in memory as asked."""


def memory_helpers(plan: Plan) -> list[str]:
    """The functions that the tensors of ``plan`` need."""
    return [_MEMORIES[memory] for memory in dict.fromkeys(_memories(plan))]


def _memories(plan: Plan) -> Iterator[Memory]:
    for name in plan.names:
        for leaf in plan.leaves(name):
            memory = memory_of(leaf, name)
            if memory != "contiguous":
                yield memory


def memory_of(leaf: Leaf, name: Name) -> Memory:
    """How it lies in memory, which makes no difference where there is nothing in it."""
    layout = layout_of(leaf, name)
    empty = isinstance(leaf.entry, TensorEntry) and math.prod(leaf.entry.shape) == 0
    return "contiguous" if empty and layout.memory not in ("gradient", "meta") else layout.memory


def copy_function(memory: Memory) -> str:
    """The name of the function that makes a copy in that memory."""
    return _MEMORIES[memory].removeprefix("def ").partition("(")[0]


def layout_of(leaf: Leaf, name: Name) -> Layout:
    """How the ranks hold it in that operation, in which it is there."""
    layout = leaf.entry.layout(name)
    assert layout is not None
    return layout
