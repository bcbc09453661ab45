"""How a world ends a rank that waits for ever."""

from __future__ import annotations

__all__ = ["Abandoned"]


class Abandoned(SystemExit):
    """Raised by a world in a rank that would wait for ever, so that its thread ends; no code under test catches it."""
