"""What FSDP's first version keeps for a process, and so for all ranks of a simulated world: each has its own here."""

from __future__ import annotations

import threading

from torch.distributed.fsdp._debug_utils import SimpleProfiler

from ..patches import Patch

__all__ = ["fsdp_patches"]


class _OwnProfiling(threading.local):
    """The kinds of what is being timed on this rank: FSDP asserts that none of them is already."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def __contains__(self, kind: str) -> bool:
        return kind in self._kinds

    def add(self, kind: str) -> None:
        self._kinds.add(kind)

    def remove(self, kind: str) -> None:
        self._kinds.discard(kind)

    def clear(self) -> None:
        self._kinds.clear()


def fsdp_patches() -> list[Patch]:
    """What a running world replaces."""
    return [Patch(SimpleProfiler, "profiling", _OwnProfiling())]
