"""Saves whose values are all the number of a step, so that it shows of which steps what is loaded is."""

from __future__ import annotations

import torch

from worlds.dtypes import DTYPES
from worlds.entries import TensorEntry
from worlds.state_tree import Leaf

from .places import key_literal
from .text import Code, Items
from .values import dtype_arguments, shape_literal

__all__ = ["can_count", "found_of", "target_of"]


def can_count(dtype: str, last: int = 1) -> bool:
    """Whether 0, 1 and so on, to the ``last``, are values of that dtype, and torch can say so."""
    numbers = list(range(last + 1))
    try:
        return [torch.full((), step, dtype=DTYPES[dtype]).item() for step in numbers] == numbers
    except (RuntimeError, NotImplementedError, TypeError):
        return False


def target_of(leaf: Leaf) -> Code:
    """What an entry is loaded into: a plain tensor, or nothing."""
    key, entry = f"{key_literal(leaf.path[0])}: ", leaf.entry
    if isinstance(entry, TensorEntry):
        return Items(f"{key}torch.empty(", (shape_literal(entry), *dtype_arguments(entry)))
    return f"{key}None"


def found_of(leaf: Leaf) -> str:
    """The steps that are to be seen in an entry after it was loaded, as items of a set."""
    value = f"loaded[{key_literal(leaf.path[0])}]"
    if isinstance(leaf.entry, TensorEntry):
        return f"*{value}.flatten().tolist()"
    return value
