"""What must hold of a training that is saved and loaded, or given what does not fit: judges, ledgers, and checks."""

from .breach import TrainingBreach
from .check import check_misfit, check_training
from .issue import MisfitIssue, TrainingIssue
from .judge import judge_training
from .judge_misfit import MisfitBreach, judge_misfit
from .known_issues import TRAINING_ISSUES, find_training_issue
from .known_misfits import MISFIT_ISSUES, find_misfit_issue

__all__ = [
    "MISFIT_ISSUES",
    "TRAINING_ISSUES",
    "MisfitBreach",
    "MisfitIssue",
    "TrainingBreach",
    "TrainingIssue",
    "check_misfit",
    "check_training",
    "find_misfit_issue",
    "find_training_issue",
    "judge_misfit",
    "judge_training",
]
