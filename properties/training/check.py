"""From a training, or what does not fit one, to pass or fail: run it, judge it, and look every breach up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from properties.check import KNOWN_HITS, World
from properties.judged import count_judged
from properties.ledger import LedgerEntry
from strategies.misfit_features import misfit_features
from strategies.training_features import training_features
from worlds.example import ExampleWorld
from worlds.training import Training, run_training
from worlds.training.misfit import Misfit
from worlds.training.run_misfit import run_misfit

from .breach import TrainingBreach
from .judge import judge_training
from .judge_misfit import MisfitBreach, judge_misfit
from .known_issues import find_training_issue
from .known_misfits import find_misfit_issue

__all__ = ["check_misfit", "check_training"]

B = TypeVar("B", TrainingBreach, MisfitBreach)


def check_training(training: Training, world: World) -> None:
    """Raise the first violation that is no known issue; those are counted, each once."""
    __tracebackhide__ = True
    count_judged(training_features(training))
    _throw_what_is_new(judge_training(training, run_training(world, training)), find_training_issue)


def check_misfit(misfit: Misfit, world: ExampleWorld) -> None:
    """As above, of what does not fit a training."""
    __tracebackhide__ = True
    count_judged(misfit_features(misfit))
    _throw_what_is_new(judge_misfit(misfit, run_misfit(world, misfit)), find_misfit_issue)


def _throw_what_is_new(breaches: Iterable[B], find: Callable[[B], LedgerEntry | None]) -> None:
    __tracebackhide__ = True
    known = set()
    for breach in breaches:
        issue = find(breach)
        if issue is None:
            breach.violation().throw()
        known.add(issue.id)
    KNOWN_HITS.update(known)
