"""What FSDP's first version keeps for a process, and so for all ranks of a simulated world."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch.distributed.fsdp._debug_utils import SimpleProfiler

from ..patches import Patch

__all__ = ["fsdp_patches"]


def _profile_nothing(_kind: str) -> AbstractContextManager[None]:
    """Instead of a class-wide set of what is being timed, in which no rank may find what another one has begun."""
    return nullcontext()


def fsdp_patches() -> list[Patch]:
    """What a running world replaces."""
    return [Patch(SimpleProfiler, "profile", staticmethod(_profile_nothing))]
