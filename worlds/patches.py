"""Attributes of other modules that are replaced while a world runs, and put back whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["Patch", "applied"]


@dataclass(frozen=True)
class Patch:
    """``owner.name`` is to be ``value``."""

    owner: Any
    name: str
    value: Any


@contextmanager
def applied(patches: Sequence[Patch]) -> Iterator[None]:
    """The patches hold inside the block."""
    # vars(), since getattr() would bind a classmethod and so not give back what was there.
    before = [Patch(patch.owner, patch.name, vars(patch.owner)[patch.name]) for patch in patches]
    try:
        for patch in patches:
            setattr(patch.owner, patch.name, patch.value)
        yield
    finally:
        for patch in reversed(before):
            setattr(patch.owner, patch.name, patch.value)
