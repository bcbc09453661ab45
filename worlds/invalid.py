"""What is no legal scenario is refused, in one line that says why."""

from __future__ import annotations

__all__ = ["InvalidScenario", "require"]


class InvalidScenario(ValueError):
    """What was given is no legal scenario, or no scenario at all; the message is one line."""


def require(condition: bool, message: str) -> None:
    """Raise :class:`InvalidScenario` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InvalidScenario(message)
