"""What all ranks held together: each tensor put together from its chunks, by their places alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worlds.outcome import ChunkState
from worlds.training import FLAT, Held, HeldTensor

__all__ = ["Whole", "WholeTensor", "is_elsewhere", "places", "put_together"]


@dataclass(frozen=True)
class WholeTensor:
    """A tensor that the ranks of a world hold together; ``elements`` are in row-major order."""

    dtype: str
    shape: tuple[int, ...]
    elements: tuple[bytes, ...]


@dataclass(frozen=True)
class Whole:
    """What the ranks of a world hold together, by name, as :class:`worlds.training.Held` has it for one."""

    tensors: dict[str, WholeTensor]
    values: dict[str, str]


def put_together(ranks: Sequence[Held]) -> Whole:
    """What the ranks hold together, but for lists of parameters that are not the same in each stage of a pipeline.

    Raises ``ValueError`` where two of them have other things in the same place, or none has what should be there: a
    training whose replicas have drifted apart has nothing that a checkpoint could be compared with.
    """
    tensors: dict[str, list[HeldTensor]] = {}
    values: dict[str, str] = {}
    lists = {name: value for held in ranks for name, value in held.values if name.endswith(".params")}
    apart = {name for held in ranks for name, value in held.values if lists.get(name, value) != value}
    for held in ranks:
        here = dict(held.tensors)
        for name, tensor in held.tensors:
            if is_elsewhere(name, here):
                continue
            tensors.setdefault(name, []).append(tensor)
        for name, value in held.values:
            if name not in apart and values.setdefault(name, value) != value:
                raise ValueError(f"{name} is {values[name]} on one rank, and {value} on another")
    return Whole({name: _joined(name, parts) for name, parts in tensors.items()}, values)


def is_elsewhere(name: str, here: dict[str, HeldTensor]) -> bool:
    """Whether it is a state of a parameter of which FSDP's first version leaves the rank no element."""
    if not name.startswith("optim.state."):
        return False
    parameter = here.get(f"model.{name.removeprefix('optim.state.').rpartition('.')[0]}")
    return parameter is not None and parameter.layout == FLAT and not parameter.chunks


def places(chunk: ChunkState, shape: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Each element of the chunk, with its index in the flattened tensor of that shape."""
    count = math.prod(chunk.sizes)
    if not count:
        return
    width = len(chunk.data) // count
    strides = [math.prod(shape[dim + 1 :]) for dim in range(len(shape))]
    ranges = (range(offset, offset + size) for offset, size in zip(chunk.offsets, chunk.sizes, strict=True))
    for number, place in enumerate(itertools.product(*ranges)):
        index = sum(step * stride for step, stride in zip(place, strides, strict=True))
        yield index, chunk.data[number * width : (number + 1) * width]


def _joined(name: str, parts: Sequence[HeldTensor]) -> WholeTensor:
    first = parts[0]
    found: dict[int, bytes] = {}
    for part in parts:
        if (part.dtype, part.shape) != (first.dtype, first.shape):
            raise ValueError(f"{name} has dtypes or shapes that differ between ranks")
        for chunk in part.chunks:
            for index, element in places(chunk, part.shape):
                if found.setdefault(index, element) != element:
                    raise ValueError(f"{name}: ranks hold other values in the same place")
    if len(found) != math.prod(first.shape):
        raise ValueError(f"{name}: no rank holds some of its elements")
    return WholeTensor(first.dtype, first.shape, tuple(found[index] for index in range(len(found))))
