"""Scripts of saves that follow each other: the last one and its checks, with those before it in the same processes."""

from __future__ import annotations

from dataclasses import replace

from properties import judge
from properties.judge_sequence import SequenceBreach
from properties.sequence_issues import find_sequence_issue
from worlds.scenario import Scenario

from .known import CannotWrite
from .plan import Plan
from .write import write_plan

__all__ = ["write_sequence_script"]


def write_sequence_script(breach: SequenceBreach) -> str:
    """A Python file that needs torch alone and shows what plan caching makes of a save that is not the first.

    Raises :class:`CannotWrite`, with one line, where that is seen only beside a save without caching.
    """
    steps = [_caching(step) for step in breach.sequence.steps[: breach.step + 1]]
    verdict = judge(steps[-1], breach.cached)
    if verdict:
        raise CannotWrite("there is no script for a save that breaks no law, and differs from one without caching")
    return write_plan(Plan(verdict, find_sequence_issue(breach), tuple(steps[:-1])))


def _caching(step: Scenario) -> Scenario:
    return replace(step, planner=replace(step.planner, enable_plan_caching=True))
