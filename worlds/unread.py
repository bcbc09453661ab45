"""What a new tensor holds before anything is read into it, which is else whatever was in that memory."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["NewMemory", "unread"]


def unread(dtype: torch.dtype) -> int:
    """What each byte of a new tensor is under :class:`NewMemory`; a bool that is copied is 0 or 1."""
    return 1 if dtype == torch.bool else 0xA5


class NewMemory(TorchFunctionMode):
    """In the calling thread, a tensor that begins with whatever is in its memory begins with :func:`unread`.

    So an element that is never read is seen as such, and is the same in each run.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.empty, torch.empty_like) and result.numel() and not result.is_meta:
            result.untyped_storage().fill_(unread(result.dtype))
        return result
