"""From a training to pass or fail: run it, judge it, and look every breach up in the ledger."""

from __future__ import annotations

from properties.check import KNOWN_HITS, World
from properties.judged import count_judged
from strategies.training_features import training_features
from worlds.training import Training, run_training

from .judge import judge_training
from .known_issues import find_training_issue

__all__ = ["check_training"]


def check_training(training: Training, world: World) -> None:
    """Raise the first violation that is no known issue; those are counted, each once."""
    __tracebackhide__ = True
    count_judged(training_features(training))
    known = set()
    for breach in judge_training(training, run_training(world, training)):
        issue = find_training_issue(breach)
        if issue is None:
            breach.violation().throw()
        known.add(issue.id)
    KNOWN_HITS.update(known)
