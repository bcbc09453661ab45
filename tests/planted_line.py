"""What every bug has that the tests plant, whatever law it is to break."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from campaign.planted.plant import planted
from worlds.backends import FSSPEC

__all__ = ["FSSPEC_FILES", "PlantedLine"]

_FSSPEC: Any = import_module(FSSPEC)
FSSPEC_FILES = _FSSPEC.FileSystem if hasattr(_FSSPEC, "FileSystem") else _FSSPEC._FileSystem  # as torch 2.15 calls it


@dataclass(frozen=True)
class PlantedLine:
    """Lines in the source of one function of torch, and what to put in their place."""

    id: str
    owner: Any
    function: str
    old: str
    new: str

    def planted(self) -> AbstractContextManager[None]:
        """Inside the block the installed torch has the bug."""
        return planted(self.owner, self.function, self.old, self.new)
