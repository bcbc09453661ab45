"""Scripts of two saves in one program: by two groups of ranks, one after the other, or in flight together."""

from __future__ import annotations

from dataclasses import dataclass

from properties import judge
from properties.judge_side_by_side import SideBySideBreach
from properties.side_by_side_issues import find_side_by_side_issue

from .known import CannotWrite
from .plan import Plan
from .write import write_plan

__all__ = ["write_side_by_side_script"]


@dataclass(frozen=True)
class _Uploads(Plan):
    """Two uploads; what they come to is a matter of chance, but for one of them not to return."""

    @property
    def in_flight(self) -> bool:
        """Both at once."""
        return True

    @property
    def hangs(self) -> bool:
        """Ranks may do so, whatever was seen."""
        return True


def write_side_by_side_script(breach: SideBySideBreach) -> str:
    """A Python file that needs torch alone and shows what a save comes to beside another one.

    Raises :class:`CannotWrite`, with one line, where it is not the second save that breaks a law, and for two groups
    that both upload.
    """
    one, other = breach.pair.both
    issue = find_side_by_side_issue(breach)
    if breach.pair.how == "uploads":
        raise CannotWrite("there is no script for two uploads, each with a group of its own, yet")
    if breach.pair.how == "one group":
        verdict = judge(other, breach.together)
        if verdict:
            raise CannotWrite("there is no script for two uploads that both return yet")
        return write_plan(_Uploads(verdict, issue, (one,)))
    verdict = judge(other, breach.together)
    if verdict or breach.number == 0:
        raise CannotWrite("there is no script for two saves of which the second one breaks no law yet")
    if any(scenario.faults for scenario in (one, other)):
        raise CannotWrite("there is no script for two saves in which ranks fail yet")
    return write_plan(Plan(verdict, issue, (one,)))
