"""Judges the load of a quantized tensor: each element is what is stored of it times its scale, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from worlds.concise import pretty
from worlds.dtypes import DTYPES
from worlds.entries import TensorEntry
from worlds.outcome import Outcome
from worlds.parts import Box
from worlds.quantized import Quantized
from worlds.quantized_files import stored_tensors
from worlds.values import expected_bytes, tensor_bytes

from .expected_state import Find
from .judge import judge_load
from .verdict import Breach, Verdict, rank_text
from .violations import Violation

__all__ = ["QuantizedBreach", "content_of", "dequantized", "judge_quantized"]

_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""The numbers of E2M1 by their four bits, as OCP's Microscaling Formats (MX) Specification has them."""

_BIAS = 127
"""Of the exponents of E8M0, as there."""


@dataclass(frozen=True)
class QuantizedBreach:
    """What is wrong with what was loaded; its scenario is as if nothing had been quantized."""

    quantized: Quantized
    verdict: Verdict
    breach: Breach

    def violation(self) -> Violation:
        """The exception, with the whole text."""
        found = self.verdict.violation()
        assert found is not None
        text = str(found).replace(
            f"scenario = {pretty(self.verdict.scenario)}", f"quantized = {pretty(self.quantized)}"
        )
        return type(found)(text).at(found.place, found.fact)


def judge_quantized(
    quantized: Quantized, outcome: Outcome, contents: Mapping[str, torch.Tensor] | None = None
) -> QuantizedBreach | None:
    """The first thing that is wrong, or ``None``; with other ``contents`` to be loaded, by name, if they are given."""
    if outcome.load is None:
        raise ValueError(f"the files were not written: rank 0 {rank_text(outcome.save.ranks[0])}")
    verdict = judge_load(quantized.scenario, outcome, find=content_of(contents or dequantized(quantized)))
    return None if verdict.breach is None else QuantizedBreach(quantized, verdict, verdict.breach)


def content_of(contents: Mapping[str, torch.Tensor]) -> Find:
    """What tensors of those names hold, and others as they were saved."""

    def find(fqn: str, entry: TensorEntry, box: Box) -> bytes:
        if fqn not in contents:
            return expected_bytes(fqn, entry, box)
        bounds = zip(box.offsets, box.sizes, strict=True)
        return tensor_bytes(contents[fqn][tuple(slice(start, start + size) for start, size in bounds)])

    return find


def dequantized(quantized: Quantized) -> dict[str, torch.Tensor]:
    """What is to be loaded of the tensor, in the dtype of its target, and of its scales, which are loaded as they are.

    Of the reader's dtype first: that of the target may have room for what is lost in it.
    """
    stored = stored_tensors(quantized)
    tensor, scales = stored[quantized.name], stored[quantized.scales]
    whole = _of_groups(tensor, scales) if quantized.is_mxfp4 else _of_blocks(tensor, scales, quantized.block)
    return {**stored, quantized.name: whole.to(DTYPES[quantized.target_dtype]).to(DTYPES[quantized.dtype])}


def _of_blocks(tensor: torch.Tensor, scales: torch.Tensor, block: int) -> torch.Tensor:
    """In float32: the element times the scale of the block that it is in."""
    for dim, extent in enumerate(tensor.shape):
        scales = scales.index_select(dim, torch.arange(extent) // block)
    return tensor.float() * scales


def _of_groups(tensor: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """In float32: of each byte the lower four bits, then the upper ones, times two to the exponent of its group."""
    halves = torch.stack((tensor & 0xF, tensor >> 4), dim=-1).flatten(-2)
    numbers = torch.tensor(_FP4)[halves.long()] * 2.0 ** (scales.float() - _BIAS).unsqueeze(-1)
    return numbers.flatten(-2)
