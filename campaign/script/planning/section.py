"""What a script has to show of one input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worlds.plans import Box

from ..text import Code, Items

__all__ = ["Section", "chunk_code", "exit_if", "size_code"]


@dataclass(frozen=True)
class Section:
    """What is expected and what was seen, each as the rest of a sentence; the statements; the functions they call."""

    expected: str
    seen: str
    lines: tuple[str, ...]
    helpers: tuple[str, ...] = ()


def exit_if(condition: str, message: str) -> str:
    """The statement that ends the script with status 1; ``message`` is the source of a text."""
    return f"if {condition}:\n    sys.exit({message})"


def size_code(numbers: Sequence[int]) -> str:
    """A ``torch.Size``."""
    return f"torch.Size({list(numbers)})"


def chunk_code(box: Box) -> Code:
    """A chunk as DCP's metadata has it."""
    return Items("ChunkStorageMetadata(", (size_code(box.offsets), size_code(box.sizes)))
