"""Where a local tensor lies in memory: in memory of our own, between guards, and arranged as the scenario asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from .accelerator import torch_device
from .dtypes import DTYPES
from .layouts import Device, Memory
from .parts import Box
from .values import tensor_bits, tensor_bytes

__all__ = ["PADDING", "GuardedMemory", "join_local", "make_local"]

PADDING = 0xA5
"""What each byte is that is no part of a tensor, around a local tensor and beside the tiles in one."""

_GUARD = bytes([PADDING]) * 64  # on either side: a cache line, and a multiple of every itemsize
_ROOM = 64  # bytes on either side of a window in a larger storage


class GuardedMemory:
    """The memory of one local tensor, with bytes around it and between its elements that nobody is to write to."""

    def __init__(self, size: int, device: Device = "cpu") -> None:
        content = bytearray(_GUARD + bytes([PADDING]) * size + _GUARD)
        self._content: bytearray | torch.Tensor = content
        self._gaps: torch.Tensor | None = None
        self.storage = torch.frombuffer(content, dtype=torch.uint8, count=size, offset=len(_GUARD))
        if device != "cpu":
            self._content = torch.frombuffer(content, dtype=torch.uint8).to(torch_device(device))
            self.storage = self._content[len(_GUARD) : -len(_GUARD)]

    def claim(self, *views: torch.Tensor) -> None:
        """Those bytes, views of ``storage`` without a byte in common, are the tensor's, and all others are not."""
        if sum(bits.numel() for bits in views) == self.storage.numel():
            return  # there are no others
        gaps = torch.ones(self.storage.shape, dtype=torch.bool)
        for bits in views:
            start = bits.storage_offset() - self.storage.storage_offset()
            gaps.as_strided(bits.shape, bits.stride(), start).zero_()
        self._gaps = gaps if bool(gaps.any()) else None

    def is_intact(self) -> bool:
        """Whether nothing was written beside what was claimed."""
        content = self._content if isinstance(self._content, bytearray) else tensor_bytes(self._content)
        if not (content.startswith(_GUARD) and content.endswith(_GUARD)):
            return False
        return self._gaps is None or bool((self.storage.cpu()[self._gaps] == PADDING).all())


def make_local(
    bits: torch.Tensor, dtype: str, memory: Memory, guarded: list[GuardedMemory], device: Device = "cpu"
) -> torch.Tensor:
    """A tensor of that dtype that lies in memory as asked and has the bytes ``bits``, of shape ``(*shape, itemsize)``.

    The memory goes to ``guarded``.
    """
    typed = DTYPES[dtype]
    if memory == "meta":
        return torch.empty(bits.shape[:-1], dtype=typed, device="meta")
    if bits.numel() == 0:
        requires_grad = memory == "gradient"
        return torch.empty(bits.shape[:-1], dtype=typed, requires_grad=requires_grad, device=torch_device(device))
    lazy = _LAZY.get(memory)
    if lazy is not None:
        physical, logical = lazy
        physically = tensor_bits(physical(_typed(bits.contiguous(), typed)))
        return logical(make_local(physically, dtype, "contiguous", guarded, device))
    room, arrange = _ARRANGEMENTS.get(memory, _ARRANGEMENTS["contiguous"])
    shape, width = tuple(bits.shape[:-1]), bits.shape[-1]
    own = GuardedMemory(room(math.prod(shape), width), device)
    target = arrange(own.storage, shape, width)
    own.claim(target)
    guarded.append(own)
    if memory == "expanded":
        own.storage.copy_(bits.reshape(-1, width)[0])
    else:
        target.copy_(bits)
    tensor = _typed(target, typed)
    return tensor.requires_grad_() if memory == "gradient" else tensor


def join_local(
    tensors: Sequence[torch.Tensor],
    places: Sequence[Box],
    shape: Sequence[int],
    dtype: str,
    guarded: list[GuardedMemory],
    device: Device,
) -> torch.Tensor:
    """A tensor of that dtype and shape with those in it, each at its place; the memory goes to ``guarded``.

    What is beside them is guarded as well.
    """
    typed = DTYPES[dtype]
    if math.prod(shape) == 0:
        return torch.empty(tuple(shape), dtype=typed, device=torch_device(device))
    own = GuardedMemory(math.prod(shape) * typed.itemsize, device)
    whole = own.storage.view(*shape, typed.itemsize)
    claimed = []
    for tensor, place in zip(tensors, places, strict=True):
        claimed.append(whole[tuple(slice(o, o + s) for o, s in zip(place.offsets, place.sizes, strict=True))])
        claimed[-1].copy_(tensor_bits(tensor))
    own.claim(*claimed)
    guarded.append(own)
    return _typed(whole, typed)


def _typed(bits: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return bits.view(dtype).squeeze(-1)


Arrange = Callable[[torch.Tensor, Sequence[int], int], torch.Tensor]


def _contiguous(storage: torch.Tensor, shape: Sequence[int], width: int) -> torch.Tensor:
    return storage.view(*shape, width)


def _transposed(storage: torch.Tensor, shape: Sequence[int], width: int) -> torch.Tensor:
    dims = range(len(shape))
    return storage.view(*reversed(shape), width).permute(*reversed(dims), len(shape))


def _strided(storage: torch.Tensor, shape: Sequence[int], width: int) -> torch.Tensor:
    return storage.view(*shape, 2, width)[..., 0, :]


def _window(storage: torch.Tensor, shape: Sequence[int], width: int) -> torch.Tensor:
    return storage[_ROOM:-_ROOM].view(*shape, width)


def _expanded(storage: torch.Tensor, shape: Sequence[int], width: int) -> torch.Tensor:
    return storage.expand(*shape, width)


_ARRANGEMENTS: dict[Memory, tuple[Callable[[int, int], int], Arrange]] = {
    "contiguous": (lambda count, width: count * width, _contiguous),
    "transposed": (lambda count, width: count * width, _transposed),
    "strided": (lambda count, width: 2 * count * width, _strided),
    "window": (lambda count, width: count * width + 2 * _ROOM, _window),
    "expanded": (lambda _, width: width, _expanded),
}
"""How many bytes it takes, from the number of elements and their size; and where in them the elements are."""

_Function = Callable[[torch.Tensor], torch.Tensor]
_LAZY: dict[Memory, tuple[_Function, _Function]] = {
    "conjugated": (torch.conj_physical, torch.conj),
    "negated": (torch.neg, torch._neg_view),
}
"""What turns the values into what lies in memory, and what says so of the tensor."""
