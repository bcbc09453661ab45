"""Keys, and where things are in a state dict, as source."""

from __future__ import annotations

from worlds.entries import Key, Path

from .plan import Plan
from .text import quoted

__all__ = ["key_literal", "place_of"]


def key_literal(key: Key) -> str:
    """The key of a state dict, as source."""
    return quoted(key) if isinstance(key, str) else str(key)


def place_of(plan: Plan, variable: str, path: Path) -> str:
    """Where it is in the state dict that ``variable`` holds."""
    steps = [f"[{key_literal(step)}]" for step in path]
    if len(path) > 1 and plan.is_stateful(path[:1]):
        steps.insert(1, ".entries")
    return variable + "".join(steps)
