"""The smallest case that Hypothesis finds to break a law, where a bug is planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

__all__ = ["shrunk"]

C = TypeVar("C")
E = TypeVar("E", bound=AssertionError)


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
