"""What must hold of a training that is saved and loaded: the judge, the ledger of known issues, and the check."""

from .breach import TrainingBreach
from .check import check_training
from .judge import judge_training
from .known_issues import TRAINING_ISSUES, TrainingIssue, find_training_issue

__all__ = [
    "TRAINING_ISSUES",
    "TrainingBreach",
    "TrainingIssue",
    "check_training",
    "find_training_issue",
    "judge_training",
]
