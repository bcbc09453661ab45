"""Writes quantized tensors to files of safetensors, with an index by name, as published models have them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from .dtypes import DTYPES
from .quantized import Quantized

__all__ = ["EXPONENTS", "FIRST", "INDEX", "STEP", "stored_tensors", "write_quantized"]

INDEX = "model.safetensors.index.json"
"""The file that says in which file each tensor is."""

FIRST, STEP = 29, 73
"""The first byte of what is stored, and from one to the next, modulo 256: odd, so that all are met."""

EXPONENTS = (119, 5, 17)
"""Of the scales of MXFP4: the least, the step from one to the next, and how many there are."""

_FORMAT = {"format": "pt"}
"""What ``transformers`` writes into the header of each file, where DCP would look for its own; others write nothing."""

_BELOW_ALL_ONES = 0xBF
"""The bits of a byte that leave no exponent of 8-bit floats all ones: NaNs have bits that nobody promises to keep."""


def stored_tensors(quantized: Quantized) -> dict[str, torch.Tensor]:
    """What the files hold of the tensor and of its scales, by name: all of it a function of the place alone.

    Scales differ from one block to the next. Whole numbers and powers of two, so that what is dequantized is exact in
    float32, however it is computed.
    """
    count = math.prod(quantized.blocks)
    if quantized.is_mxfp4:
        least, step, some = EXPONENTS
        scales = (least + step * torch.arange(count) % some).to(torch.uint8)
        tensor = _bytes(count * quantized.block).reshape(*quantized.blocks, quantized.block)
    else:
        scales = torch.arange(2.0, 2.0 + count)
        tensor = _elements(_bytes(math.prod(quantized.shape)), quantized.stored).reshape(quantized.shape)
    return {quantized.name: tensor, quantized.scales: scales.reshape(quantized.blocks)}


def _bytes(count: int) -> torch.Tensor:
    return ((torch.arange(count) * STEP + FIRST) % 256).to(torch.uint8)


def _elements(words: torch.Tensor, dtype: str) -> torch.Tensor:
    if dtype.startswith("float8"):
        return (words & _BELOW_ALL_ONES).view(DTYPES[dtype])
    return words.view(torch.int8).to(DTYPES[dtype])


def write_quantized(quantized: Quantized, others: Mapping[str, torch.Tensor], path: str) -> None:
    """Write the checkpoint to the directory, with the ``others`` in the first file."""
    stored = stored_tensors(quantized)
    files = [{**stored, **others}]
    if quantized.apart:
        files = [{quantized.name: stored[quantized.name], **others}, {quantized.scales: stored[quantized.scales]}]
    directory = Path(path)
    directory.mkdir()
    where = {}
    for number, tensors in enumerate(files, start=1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        save_file(tensors, directory / name, metadata=_FORMAT if quantized.name in tensors else None)
        where.update(dict.fromkeys(tensors, name))
    total = sum(tensor.nbytes for tensors in files for tensor in tensors.values())
    (directory / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": where}))
