"""What every element of every tensor holds: its bits as a function of the name and the place in the global tensor.

So the expected content of any part, on any rank and after any resharding, is computed without asking another rank, and
two elements are equal only where the dtype has too few values to tell them apart. Bits are compared and never values,
since a NaN is unequal to itself and -0.0 equal to 0.0.
"""

from __future__ import annotations

import ctypes
import math
import zlib
from functools import lru_cache

import torch

from .dtypes import DTYPES
from .entries import TensorEntry
from .parts import Box, Part

__all__ = [
    "expected_bits",
    "expected_bytes",
    "poison_bits",
    "poison_bytes",
    "tensor_bits",
    "tensor_bytes",
]

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


def expected_bits(fqn: str, entry: TensorEntry, part: Part) -> torch.Tensor:
    """The bytes of what the global tensor of that name holds there, of shape ``(*part.sizes, itemsize)``.

    Not to be written to.
    """
    return _select(_bits_at_step(*entry.content(fqn)), entry, part)


def poison_bits(fqn: str, entry: TensorEntry, part: Part) -> torch.Tensor:
    """Bytes as :func:`expected_bits` has them, that differ from those of each step in every element.

    Not to be written to.
    """
    return _select(_global_poison(*entry.content(fqn)[:-1]), entry, part)


def expected_bytes(fqn: str, entry: TensorEntry, box: Box) -> bytes:
    """The bytes of :func:`expected_bits`, in row-major order."""
    return _raw(expected_bits(fqn, entry, Part.of(box)))


def poison_bytes(fqn: str, entry: TensorEntry, box: Box) -> bytes:
    """The bytes of :func:`poison_bits`, in row-major order."""
    return _raw(poison_bits(fqn, entry, Part.of(box)))


def tensor_bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor of any dtype and memory, of shape ``(*tensor.shape, itemsize)``, as a view.

    As torch reads them: with what a lazy conjugation or negation makes of them. They are on the tensor's device.
    """
    tensor = tensor.detach().resolve_conj().resolve_neg()
    width = tensor.element_size()
    if tensor.numel() == 0:
        return torch.empty((*tensor.shape, width), dtype=torch.uint8, device=tensor.device)
    whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
    strides = (*(stride * width for stride in tensor.stride()), 1)
    return whole.as_strided((*tensor.shape, width), strides, tensor.storage_offset() * width)


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor of any dtype and memory, in row-major order."""
    if tensor.is_cpu and tensor.is_contiguous() and not tensor.is_conj() and not tensor.is_neg():
        return ctypes.string_at(tensor.data_ptr(), tensor.nbytes) if tensor.numel() else b""
    return _raw(tensor_bits(tensor))


def _raw(bits: torch.Tensor) -> bytes:
    bits = bits.contiguous().cpu()
    return ctypes.string_at(bits.data_ptr(), bits.numel()) if bits.numel() else b""


def _select(bits: torch.Tensor, entry: TensorEntry, part: Part) -> torch.Tensor:
    for dim, (runs, extent) in enumerate(zip(part.runs, entry.shape, strict=True)):
        if len(runs) > 1:
            bits = torch.cat([bits.narrow(dim, start, stop - start) for start, stop in runs], dim)
        elif runs[0] != (0, extent):
            bits = bits.narrow(dim, runs[0][0], runs[0][1] - runs[0][0])
    return bits


@lru_cache(maxsize=32)
def _global_bits(fqn: str, shape: tuple[int, ...], dtype: str, fill: str) -> torch.Tensor:
    """The bytes of the whole global tensor, of shape ``(*shape, itemsize)``."""
    width = DTYPES[dtype].itemsize
    index = torch.arange(math.prod(shape), dtype=torch.int64)
    if fill == "constant":
        index.zero_()
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
def _bits_at_step(fqn: str, shape: tuple[int, ...], dtype: str, fill: str, step: int) -> torch.Tensor:
    """The bytes of the whole global tensor at that step of a training: others than at any other step, everywhere."""
    bits = _global_bits(fqn, shape, dtype, fill)
    # The one other bool is the poison.
    return bits if not step or dtype == "bool" else bits.bitwise_xor(step)


@lru_cache(maxsize=32)
def _global_poison(fqn: str, shape: tuple[int, ...], dtype: str, fill: str) -> torch.Tensor:
    """Bytes that differ from those of :func:`_global_bits` everywhere."""
    # A bool has only two legal bytes, so that its complement is the other one.
    return _global_bits(fqn, shape, dtype, fill).bitwise_xor(1 if dtype == "bool" else 0xFF)


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
