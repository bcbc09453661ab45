"""What an example has that matters, told to Hypothesis for its statistics."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import event

__all__ = ["tell"]


def tell(features: Iterable[tuple[str, str]]) -> None:
    """An event for each feature, with its group."""
    for group, feature in sorted(features):
        event(f"{group}: {feature}")
