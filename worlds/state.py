"""The state dict of one rank: what it saves, what it loads into, and what it holds afterwards, as data.

A load target is filled with poison and lies between guards in a larger piece of memory, so that an element that the
load forgot and one that it should not have touched are both seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
from torch.distributed._shard import sharded_tensor
from torch.distributed._shard.sharded_tensor import ShardedTensor
from torch.distributed._shard.sharding_spec import ChunkShardingSpec

from .dtypes import DTYPES
from .outcome import ChunkState, EntryState, ObjectState, TensorState
from .scenario import ChunkSharding, ObjectEntry, Scenario, TensorEntry
from .values import expected_tensor, poison_tensor, tensor_bytes

__all__ = ["POISON_OBJECT", "StateDict"]

POISON_OBJECT = "<not loaded>"
"""What stands in a load target where an object is to be loaded."""

_GUARD = b"\xa5" * 64  # on either side of a target: a cache line, and a multiple of every itemsize
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class StateDict:
    """One rank's state dict in one operation; ``tensors`` is what is handed to DCP."""

    def __init__(self, scenario: Scenario, operation: Literal["save", "load"]) -> None:
        self._loads = operation == "load"
        self._memory: dict[str, list[bytearray]] = {}
        self._module: torch.nn.Module | None = None
        self.entries: dict[str, Any] = {}
        built = {entry.fqn: self._build(entry) for entry in scenario.entries}
        if scenario.container == "module":
            self._module = _module(built)
            self.entries = dict(self._module.state_dict())
        else:
            self.entries = built
        self._before = {fqn: _identity(value) for fqn, value in self.entries.items()}

    def observe(self) -> tuple[EntryState, ...]:
        """What the rank holds now, in the state dict's order; a module is asked for its state dict again."""
        entries: Mapping[str, Any] = self.entries
        in_place = {fqn: self._before.get(fqn) == _identity(value) for fqn, value in entries.items()}
        if self._module is not None:
            entries = self._module.state_dict()
        return tuple(self._observe(fqn, value, in_place.get(fqn, False)) for fqn, value in entries.items())

    def _build(self, entry: TensorEntry | ObjectEntry) -> Any:
        if isinstance(entry, ObjectEntry):
            return POISON_OBJECT if self._loads else entry.value
        sharding = entry.loaded if self._loads else entry.saved
        if sharding is None:
            return self._fill(entry, (0,) * len(entry.shape), entry.shape)
        return self._build_sharded(entry, sharding)

    def _build_sharded(self, entry: TensorEntry, sharding: ChunkSharding) -> ShardedTensor:
        tensor = sharded_tensor.empty(_spec(sharding), *entry.shape, dtype=DTYPES[entry.dtype])
        for shard in tensor.local_shards():
            # Where torch puts an empty chunk is its own affair (a known issue: outside the tensor); it has no content.
            offsets = shard.metadata.shard_offsets if shard.tensor.numel() else [0] * len(entry.shape)
            shard.tensor = self._fill(entry, offsets, shard.metadata.shard_sizes)
        return tensor

    def _fill(self, entry: TensorEntry, offsets: Sequence[int], sizes: Sequence[int]) -> torch.Tensor:
        if not self._loads:
            return expected_tensor(entry, offsets, sizes)
        length = DTYPES[entry.dtype].itemsize * math.prod(sizes)
        memory = bytearray(_GUARD) + bytes(length) + _GUARD
        self._memory.setdefault(entry.fqn, []).append(memory)
        return poison_tensor(entry, offsets, sizes, memory, len(_GUARD))

    def _observe(self, fqn: str, value: Any, in_place: bool) -> EntryState:
        if not isinstance(value, torch.Tensor):
            return ObjectState(fqn, type(value).__name__, repr(value))
        if isinstance(value, ShardedTensor):
            # From its metadata: each attribute asked of the tensor itself costs a dispatch.
            metadata = value.metadata()
            kind, dtype, shape = "ShardedTensor", metadata.tensor_properties.dtype, metadata.size
            chunks = [_chunk(shard.metadata.shard_offsets, shard.tensor) for shard in value.local_shards()]
        else:
            kind, dtype, shape = "Tensor", value.dtype, value.shape
            chunks = [_chunk((0,) * value.dim(), value)]
        return TensorState(
            fqn=fqn,
            kind=kind,
            dtype=_DTYPE_NAMES.get(dtype, str(dtype)),
            shape=tuple(shape),
            chunks=tuple(chunks),
            in_place=in_place or not self._loads,
            guards_intact=all(map(_is_guarded, self._memory.get(fqn, ()))),
        )


@lru_cache(maxsize=256)
def _spec(sharding: ChunkSharding) -> ChunkShardingSpec:
    """torch's own spec; parsing the placements takes long, and nothing changes a spec."""
    return ChunkShardingSpec(sharding.dim, [f"rank:{rank}/cpu" for rank in sharding.ranks])


def _chunk(offsets: Sequence[int], tensor: torch.Tensor) -> ChunkState:
    return ChunkState(tuple(offsets), tuple(tensor.shape), tensor_bytes(tensor))


def _is_guarded(memory: bytearray) -> bool:
    """Whether nothing was written beside the target that lies in ``memory``."""
    return memory.startswith(_GUARD) and memory.endswith(_GUARD)


def _identity(value: Any) -> tuple[int, ...]:
    """Tells whether a tensor is still the same object with the same memory."""
    if isinstance(value, ShardedTensor):
        return (id(value), *(shard.tensor.data_ptr() for shard in value.local_shards()))
    return (id(value), value.data_ptr()) if isinstance(value, torch.Tensor) else ()


def _module(tensors: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """A module that holds them: sharded tensors as attributes with torch's own hooks, the others as torch allows."""
    module = torch.nn.Module()
    module._register_state_dict_hook(sharded_tensor.state_dict_hook)
    module._register_load_state_dict_pre_hook(sharded_tensor.pre_load_state_dict_hook, True)
    for name, tensor in tensors.items():
        if isinstance(tensor, ShardedTensor):
            setattr(module, name, tensor)
        elif tensor.is_floating_point() or tensor.is_complex():
            module.register_parameter(name, torch.nn.Parameter(tensor))
        else:
            module.register_buffer(name, tensor)
    return module
