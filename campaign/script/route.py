"""Scripts of states that go another way: a ``torch.save`` file that ranks read."""

from __future__ import annotations

from dataclasses import dataclass

from properties.judge_route import RouteBreach
from properties.route_issues import find_route_issue
from worlds.routes import Way

from .known import CannotWrite
from .plan import Plan
from .write import write_plan

__all__ = ["write_route_script"]


@dataclass(frozen=True, kw_only=True)
class _RoutePlan(Plan):
    way: Way

    @property
    def by(self) -> Way:
        """That of the breach."""
        return self.way

    @property
    def path(self) -> str:
        """A file in the directory that the ranks share."""
        return 'f"{path}/saved.pt"'


def write_route_script(breach: RouteBreach) -> str:
    """A Python file that needs torch alone and shows what is wrong with what went another way.

    Raises :class:`CannotWrite`, with one line, for the way that writes DCP's own files.
    """
    if breach.route.by == "torch_save_to_dcp":
        raise CannotWrite(f"there is no script for a state that goes by {breach.route.by} yet")
    return write_plan(_RoutePlan(breach.verdict, find_route_issue(breach), way=breach.route.by))
