"""A broadcast as gloo does it, which the simulated groups pass for: of memory, whatever the tensors' strides are."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["Broadcast", "refuse"]

_UNSENT = 0xA5
"""What comes where the root has less memory than elements, as in an expanded tensor; gloo reads beyond it."""

_SCALARS = {
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
}


def refuse(tensors: list[torch.Tensor]) -> None:
    """Raise what torch raises, before anything is sent, for a tensor that gloo cannot broadcast."""
    for tensor in tensors:
        if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
            raise NotImplementedError(f"c10d.broadcast_.default of a {type(tensor).__name__}")
        if tensor.dtype not in _SCALARS:
            raise RuntimeError("Invalid scalar type")


class Broadcast:
    """Copies as many bytes as the root's tensor has elements, from where it begins to where the others' begin.

    Where another rank's tensor has fewer, gloo ends that rank's process by SIGABRT; here ranks raise what it says then.
    """

    def __init__(self, src: int) -> None:
        self.src = src

    def work(self, data: list[Any]) -> None:
        """``data`` has a list of tensors for each rank."""
        for place, tensor in enumerate(data[self.src]):
            size = tensor.numel() * tensor.element_size()
            sent = torch.full((size,), _UNSENT, dtype=torch.uint8)
            memory = _memory(tensor)[:size]
            sent[: len(memory)] = memory
            for rank, tensors in enumerate(data):
                if rank == self.src:
                    continue
                room = tensors[place].numel() * tensors[place].element_size()
                if room < size:
                    raise RuntimeError(f"Received data size doesn't match expected size: {size} and {room}")
                _memory(tensors[place])[:size] = sent


def _memory(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes from the tensor's first element to the end of its storage."""
    whole = torch.empty(0, dtype=torch.uint8).set_(tensor.detach().untyped_storage())
    return whole[tensor.storage_offset() * tensor.element_size() :]
