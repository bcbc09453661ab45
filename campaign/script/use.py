"""What is kept in a variable of a script, to be used again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Use"]


@dataclass(frozen=True)
class Use:
    """The variable, whether it is made here, and whether this is the last that uses it."""

    variable: str
    is_new: bool
    is_last: bool
