"""From an input of a planning function to pass or fail: judge it, and look every breach up in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from hypothesis import settings

from properties.check import KNOWN_HITS
from properties.judged import count_judged
from worlds.concise import Concise

from .breach import PlanBreach
from .known_issues import find_planning_issue

C = TypeVar("C", bound=Concise)

__all__ = ["check_plan", "examples"]


def check_plan(judge: Callable[[C], Iterator[PlanBreach]], case: C) -> None:
    """Raise the first violation that ``judge`` finds in ``case`` and that is no known issue; those are counted."""
    __tracebackhide__ = True
    count_judged([("planning", judge.__name__.removeprefix("judge_").replace("_", " "))])
    known = set()
    for breach in judge(case):
        issue = find_planning_issue(judge, case, breach)
        if issue is None:
            breach.violation(case).throw()
        known.add(issue.id)
    KNOWN_HITS.update(known)


def examples(share: float) -> settings:
    """The profile's settings, with that share of its examples: a law's examples cost more or less than another's."""
    profile = settings.default
    assert profile is not None
    return settings(profile, max_examples=max(1, round(profile.max_examples * share)))
