"""A quantized tensor in files of safetensors that is loaded dequantized, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .concise import Concise
from .entries import TensorEntry
from .invalid import require
from .layouts import Layout, Plain
from .operations import Operation, PlannerOptions
from .scenario import Scenario

__all__ = ["BESIDE", "MISSING", "Float", "Quantized", "Stored"]

Stored = Literal["float8_e4m3fn", "float8_e5m2", "int8", "bfloat16", "float16", "float32", "mxfp4"]
"""The dtype of the elements in the file; or OCP's MXFP4, of which two are in a byte, with one exponent for a group."""

Float = Literal["float32", "float64", "bfloat16", "float16"]
"""A dtype that elements are dequantized to."""

BESIDE = TensorEntry("b", (2,))
"""A tensor that is not quantized."""

MISSING = "c"
"""The name of what a partial load asks for and no file has."""

_PLAIN = Plain()
_ALONE, _LOAD = Operation(distributed=False), Operation()


@dataclass(frozen=True, repr=False)
class Quantized(Concise):
    """A tensor that is quantized in blocks, as published models have it, and the load that dequantizes it.

    Block-wise, ``shape`` is the tensor's, and there is a scale for each block of ``block`` elements along every dim, of
    which the last ones may be less. As MXFP4, ``shape`` is that of its groups, of ``block`` bytes each, which lie along
    the last dim: the tensor has twice as many elements there as a row of them has bytes.

    The names are those that models have: ``a.weight`` and ``a.weight_scale_inv``, or ``a_blocks`` and ``a_scales``, for
    the ``prefix`` ``"a"``; without one, ``weight`` and ``weight_scale_inv``. In the checkpoint is ``beside`` as well,
    which is no quantized tensor whatever it is called. It is loaded, and with ``loads_scales`` the scales as they are,
    and with ``partial`` what is not there is asked for. The scales are in the same file, or ``apart``.

    The reader dequantizes to ``target_dtype``, with ``thread_count`` threads, and the target is of ``dtype``.
    """

    shape: tuple[int, ...] = (1, 1)
    stored: Stored = "float8_e4m3fn"
    block: int = 1
    target_dtype: Float = "float32"
    dtype: Float = "float32"
    loaded: Layout = _PLAIN
    load: Operation = _LOAD
    prefix: str = "a"
    beside: TensorEntry = BESIDE
    loads_scales: bool = False
    apart: bool = False
    partial: bool = False
    thread_count: int = 1

    def __post_init__(self) -> None:
        require(len(self.shape) > 0, "what is in blocks has a dim")
        require(self.block >= 1, f"a block has an element, not {self.block}")
        require(self.thread_count >= 1, f"a reader needs a thread, not {self.thread_count}")
        beside = self.beside
        plain = beside.saved == beside.loaded == _PLAIN and beside.dtype == "float32"
        require(plain, f"what is beside it is a plain tensor of float32, and not {beside!r}")
        require(isinstance(beside.key, str) and beside.key != self.scales, f"{beside.key!r} is no name for it")
        require(not self.load.by_path and not self.load.pathlike, "it takes a reader of its own")
        _ = self.scenario  # which checks the rest

    @property
    def is_mxfp4(self) -> bool:
        """Whether it is in groups of half bytes, and not in blocks of whole elements."""
        return self.stored == "mxfp4"

    @property
    def name(self) -> str:
        """The name of the tensor."""
        if self.is_mxfp4:
            return f"{self.prefix}_blocks"
        return f"{self.prefix}.weight" if self.prefix else "weight"

    @property
    def scales(self) -> str:
        """The name of its scales."""
        return f"{self.prefix}_scales" if self.is_mxfp4 else f"{self.name}_scale_inv"

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of the tensor, dequantized."""
        return (*self.shape[:-1], self.shape[-1] * self.block * 2) if self.is_mxfp4 else self.shape

    @property
    def blocks(self) -> tuple[int, ...]:
        """The shape of the scales: how many blocks, or groups, there are along each dim."""
        return self.shape if self.is_mxfp4 else tuple(-(-extent // self.block) for extent in self.shape)

    @property
    def scenario(self) -> Scenario:
        """The same as if what is quantized had been saved as it is to be loaded, by one process."""
        entries = [TensorEntry(self.name, self.sizes, self.dtype, loaded=self.loaded), self.beside]
        if self.loads_scales:
            entries.append(TensorEntry(self.scales, self.blocks, "uint8" if self.is_mxfp4 else "float32"))
        if self.partial:
            entries.append(TensorEntry(MISSING, (2,), saved=None))
        planner = PlannerOptions(allow_partial_load=self.partial)
        return Scenario(tuple(entries), save=_ALONE, load=self.load, planner=planner)
