"""What every element of every tensor holds: its bits as a function of the name and the place in the global tensor.

So the expected content of any part, on any rank and after any resharding, is computed without asking another rank, and
two elements are equal only where the dtype has too few values to tell them apart. Bits are compared and never values,
since a NaN is unequal to itself and -0.0 equal to 0.0.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Sequence
from functools import lru_cache

import torch

from .dtypes import DTYPES
from .scenario import TensorEntry

__all__ = ["expected_bytes", "expected_tensor", "poison_bytes", "poison_tensor", "tensor_bytes"]

# Odd, hence a bijection modulo any power of two: the first 2**bits elements of a tensor are all different.
_STEP = 0x1E3779B97F4A7C15

# (exponent bits, mantissa bits) of the dtypes, or of the parts of the complex ones, that have infinities or NaNs.
_FLOATS = {
    "float64": (11, 52),
    "float32": (8, 23),
    "float16": (5, 10),
    "bfloat16": (8, 7),
    "float8_e5m2": (5, 2),
    "float8_e5m2fnuz": (5, 2),
    "float8_e4m3fn": (4, 3),
    "float8_e4m3fnuz": (4, 3),
    "float8_e8m0fnu": (8, 0),
    "complex128": (11, 52),
    "complex64": (8, 23),
    "complex32": (5, 10),
    "bcomplex32": (8, 7),
}


def expected_tensor(entry: TensorEntry, offsets: Sequence[int], sizes: Sequence[int]) -> torch.Tensor:
    """A new tensor with what the global tensor holds from ``offsets`` on, of shape ``sizes``."""
    bits = _bits(entry, offsets, sizes).clone(memory_format=torch.contiguous_format)
    return _typed(bits, entry, sizes)


def poison_tensor(
    entry: TensorEntry, offsets: Sequence[int], sizes: Sequence[int], memory: bytearray, start: int
) -> torch.Tensor:
    """A tensor in ``memory``, from byte ``start`` on, that differs from :func:`expected_tensor` in every element."""
    bits = _bits(entry, offsets, sizes, poison=True)
    if bits.numel() == 0:
        return _typed(bits, entry, sizes)
    target = torch.frombuffer(memory, dtype=torch.uint8, count=bits.numel(), offset=start).view(bits.shape)
    return _typed(target.copy_(bits), entry, sizes)


def expected_bytes(entry: TensorEntry, offsets: Sequence[int], sizes: Sequence[int]) -> bytes:
    """The bytes of :func:`expected_tensor`, in row-major order."""
    return tensor_bytes(_bits(entry, offsets, sizes))


def poison_bytes(entry: TensorEntry, offsets: Sequence[int], sizes: Sequence[int]) -> bytes:
    """The bytes of :func:`poison_tensor`, in row-major order."""
    return tensor_bytes(_bits(entry, offsets, sizes, poison=True))


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """The bytes of a CPU tensor of any dtype, in row-major order."""
    tensor = tensor.detach().contiguous()
    size = tensor.numel() * tensor.element_size()
    return ctypes.string_at(tensor.data_ptr(), size) if size else b""


def _bits(entry: TensorEntry, offsets: Sequence[int], sizes: Sequence[int], *, poison: bool = False) -> torch.Tensor:
    """A view of the bytes there, of shape ``(*sizes, itemsize)``; not to be written to."""
    bits = (_global_poison if poison else _global_bits)(entry.fqn, entry.shape, entry.dtype, entry.fill)
    for dim, (offset, size, extent) in enumerate(zip(offsets, sizes, entry.shape, strict=True)):
        if size != extent:
            bits = bits.narrow(dim, offset, size)
    return bits


def _typed(bits: torch.Tensor, entry: TensorEntry, sizes: Sequence[int]) -> torch.Tensor:
    dtype = DTYPES[entry.dtype]
    if bits.numel() == 0:
        return torch.empty(tuple(sizes), dtype=dtype)
    return bits.view(dtype).squeeze(-1)


@lru_cache(maxsize=32)
def _global_bits(fqn: str, shape: tuple[int, ...], dtype: str, fill: str) -> torch.Tensor:
    """The bytes of the whole global tensor, of shape ``(*shape, itemsize)``."""
    width = DTYPES[dtype].itemsize
    index = torch.arange(_count(shape), dtype=torch.int64)
    salt = zlib.crc32(fqn.encode("utf-8", "surrogatepass"))
    if dtype == "bool":
        words = _spread(index, salt).bitwise_right_shift(17).bitwise_and(1)
        bits = _low_bytes(words, 1)
    elif fill == "special":
        patterns = _special_patterns(dtype)
        bits = patterns[(index + salt) % len(patterns)]
    else:
        parts = [_low_bytes(_spread(index, salt + part), min(width, 8)) for part in range(max(1, width // 8))]
        bits = torch.cat(parts, dim=1)
    return bits.reshape(*shape, width)


@lru_cache(maxsize=32)
def _global_poison(fqn: str, shape: tuple[int, ...], dtype: str, fill: str) -> torch.Tensor:
    """Bytes that differ from those of :func:`_global_bits` everywhere."""
    # A bool has only two legal bytes, so that its complement is the other one.
    return _global_bits(fqn, shape, dtype, fill).bitwise_xor(1 if dtype == "bool" else 0xFF)


def _count(shape: Sequence[int]) -> int:
    """The number of elements of a tensor of that shape."""
    size = 1
    for extent in shape:
        size *= extent
    return size


def _spread(index: torch.Tensor, salt: int) -> torch.Tensor:
    # int64 wraps around, which is what a bijection modulo 2**64 needs.
    return (index + salt) * _STEP + salt


def _low_bytes(words: torch.Tensor, count: int) -> torch.Tensor:
    return words.reshape(-1, 1).view(torch.uint8)[:, :count]


def _special_patterns(dtype: str) -> torch.Tensor:
    """Every kind of bit pattern that a copy could lose, one in a row of ``itemsize`` bytes."""
    total = DTYPES[dtype].itemsize
    width = total // 2 if "complex" in dtype else total
    top = 1 << (8 * width - 1)
    words = [0, top, 1, top - 1, 2 * top - 1, top + 1]
    if dtype in _FLOATS:
        exponent, mantissa = _FLOATS[dtype]
        infinity = ((1 << exponent) - 1) << mantissa
        quiet = infinity | (1 << max(mantissa - 1, 0))
        words += [infinity, infinity | top, infinity | 1, quiet, quiet | top | 1, quiet | (1 << (mantissa // 2))]
    rows = [word & (2 * top - 1) for word in words]
    if total != width:
        rows = [real | (imaginary << (8 * width)) for real, imaginary in zip(rows, rows[1:] + rows[:1], strict=True)]
    return torch.tensor([list(row.to_bytes(total, "little")) for row in rows], dtype=torch.uint8)
