"""The smallest case that Hypothesis finds to break a law, where a bug is planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

from properties.choices import WORLDS
from properties.sharding import SHARDS
from worlds import SimulatedWorld

__all__ = ["ci_examples", "shrunk"]

C = TypeVar("C")
E = TypeVar("E", bound=AssertionError)


def ci_examples(divisor: int = 1) -> int:
    """How many examples the profile ``ci`` has of a law that is given that many times ``fewer`` than others."""
    return SHARDS * (WORLDS[SimulatedWorld.name].examples["ci"] // divisor)


def shrunk(
    cases: SearchStrategy[C], check: Callable[[C], None], violations: type[E], *, max_examples: int
) -> tuple[E, C]:
    """What ``check`` raises of the smallest case, and that case; it is an error if none of ``max_examples`` fails."""
    last: list[C] = []

    @seed(0)
    @settings(
        max_examples=max_examples,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(case=cases)
    def law(case: C) -> None:
        last[:] = [case]  # the last one to run is the smallest
        check(case)

    with pytest.raises(violations) as caught:
        law()
    return caught.value, last[0]
