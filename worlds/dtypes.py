"""The dtypes that a tensor on the CPU can have, be saved and be loaded with, by the name that torch gives them.

``torch.save`` of 2.13 and 2.15 knows neither the integers of 1 to 7 bits nor, without a quantizer, the
quantized dtypes.
"""

from __future__ import annotations

import torch

__all__ = ["DTYPES"]

_NAMES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
    "uint16",
    "uint32",
    "uint64",
    "complex64",
    "complex128",
    "complex32",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn_x2",
    "bits8",
    "bits16",
    "bits1x8",
    "bits2x4",
    "bits4x2",
    "bcomplex32",
)

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in _NAMES if hasattr(torch, name)}
"""Name to dtype, the plainest first; ``bcomplex32`` only from torch 2.15 on."""
