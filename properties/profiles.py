"""What all ways to run the laws have in common: Hypothesis's settings, but for how many examples and which."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

__all__ = ["COMMON"]

# Drawing is quick and an example is not: what Hypothesis finds too slow is DCP itself. It is not to explain a failure
# either: the lines that it would name are the judge's, and the violation says more.
COMMON = settings(
    deadline=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[phase for phase in Phase if phase is not Phase.explain],
)
