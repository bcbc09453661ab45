"""What is quantized in files of safetensors is loaded dequantized, exactly."""

from __future__ import annotations

from hypothesis import given

from properties.choices import fewer, only_in
from properties.quantized_issues import check_quantized
from properties.sharding import sharded
from strategies import quantized_tensors
from worlds.example import ExampleWorld
from worlds.quantized import Quantized


@only_in("simulated", "processes")
@sharded
@fewer(6)
@given(quantized=quantized_tensors())
def test_quantized(shard: int, world: ExampleWorld, quantized: Quantized) -> None:
    """Each element is what is stored times the scale of its block, on any ranks; what is not quantized, as it is."""
    check_quantized(quantized, world)
