"""What tensors hold: the bits of the scenario, as source that makes them again."""

from __future__ import annotations

import math
from collections.abc import Sequence

from worlds.dtypes import DTYPES
from worlds.entries import TensorEntry
from worlds.parts import Box
from worlds.state_tree import Leaf
from worlds.values import expected_bytes

from .text import Code, Items

__all__ = ["dtype_arguments", "from_bits", "shape_literal", "tensor_code"]

_FROM_BITS = '''\
def from_bits(words, dtype, shape):
    """A tensor whose elements have these bits{again}."""
{cycle}{sizes}    return torch.tensor(words, dtype={unsigned}).view(dtype).reshape(shape)'''
_SIZES = """\
    unsigned = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32}.get(dtype.itemsize, torch.uint64)
"""
_UNSIGNED = {1: "torch.uint8", 2: "torch.uint16", 4: "torch.uint32", 8: "torch.uint64"}

_CYCLE = """\
    count = math.prod(shape) * max(1, dtype.itemsize // 8)
    words = list(itertools.islice(itertools.cycle(words), count))
"""
_FEW = 4  # so many numbers are written out, even where they have a rule


def shape_literal(entry: TensorEntry) -> str:
    """The entry's shape."""
    return repr(entry.shape)


def dtype_arguments(entry: TensorEntry) -> tuple[str, ...]:
    """The argument that asks for the entry's dtype, unless it is what torch takes anyway."""
    return () if entry.dtype == "float32" else (f"dtype=torch.{entry.dtype}",)


def from_bits(leaves: Sequence[Leaf]) -> str:
    """The definition of the function that the tensors are made with."""
    tensors = [(leaf.fqn, leaf.entry) for leaf in leaves if isinstance(leaf.entry, TensorEntry)]
    cycles = any(_is_cycled(fqn, entry) for fqn, entry in tensors)
    widths = {min(8, DTYPES[entry.dtype].itemsize) for _, entry in tensors if math.prod(entry.shape) > 0}
    return _FROM_BITS.format(
        again=", over and over" if cycles else "",
        cycle=_CYCLE if cycles else "",
        sizes=_SIZES if len(widths) > 1 else "",
        unsigned="unsigned" if len(widths) > 1 else _UNSIGNED[min(widths)],
    )


def _is_cycled(fqn: str, entry: TensorEntry) -> bool:
    words = _words(fqn, entry)
    return isinstance(words, Items) and len(words.items) < len(_numbers(fqn, entry)[0])


def tensor_code(fqn: str, entry: TensorEntry, *, head: str = "") -> Code:
    """The global tensor, with the bits of the scenario; it calls what :func:`from_bits` defines if it has elements."""
    if math.prod(entry.shape) == 0:
        return Items(f"{head}torch.empty(", (shape_literal(entry), *dtype_arguments(entry)))
    return Items(f"{head}from_bits(", (_words(fqn, entry), f"torch.{entry.dtype}", shape_literal(entry)))


def _words(fqn: str, entry: TensorEntry) -> Code:
    """An iterable of the elements' bits; of two words for each element of 16 bytes."""
    words, width = _numbers(fqn, entry)
    count, modulus = len(words), 1 << (8 * width)
    if count > _FEW:
        if set(words) <= {0, 1}:
            number = int("".join(map(str, words)), 2)
            return f'[int(bit) for bit in f"{{{_hex(number)}:0{count}b}}"]'
        step = (words[1] - words[0]) % modulus
        if words == [(words[0] + step * index) % modulus for index in range(count)]:
            return f"[({_hex(words[0])} + {_hex(step)} * i) % 2**{8 * width} for i in range({count})]"
    return _list(words[: _period(words)])


def _period(words: list[int]) -> int:
    """After how many words they begin again, if they do."""
    if len(words) <= _FEW:
        return len(words)
    return next(size for size in range(1, len(words) + 1) if words == (words[:size] * len(words))[: len(words)])


def _numbers(fqn: str, entry: TensorEntry) -> tuple[list[int], int]:
    """The words, and how many bytes each has."""
    data = expected_bytes(fqn, entry, Box((0,) * len(entry.shape), entry.shape))
    width = min(8, DTYPES[entry.dtype].itemsize)
    return [int.from_bytes(data[start : start + width], "little") for start in range(0, len(data), width)], width


def _list(words: list[int]) -> Code:
    return Items("[", tuple(_hex(word) for word in words))


def _hex(number: int) -> str:
    return f"0x{number:X}"
