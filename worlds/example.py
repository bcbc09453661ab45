"""What a world offers to whoever runs an example step by step, with calls of its own in the place of a scenario's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeVar

from .launched import Launched
from .operations import Schedule
from .outcome import OperationOutcome, Outcome
from .program import Call, GroupOf
from .scenario import Scenario

__all__ = ["ExampleWorld", "checkpoint_in"]

T = TypeVar("T")


def checkpoint_in(directory: str) -> str:
    """The path of an example's checkpoint, whose own directory is in one that is not there yet, as in a new job."""
    return f"{directory}/new/checkpoint"


class ExampleWorld(Protocol):
    """A world in which one example after the other runs; ``call`` and ``body`` must be picklable."""

    def run(self, scenario: Scenario) -> Outcome:
        """What every rank saw."""

    def new_directory(self) -> str:
        """A new directory for an example, for whoever made it to remove."""

    def example(self) -> AbstractContextManager[None]:
        """An example; what DCP remembers in a process is empty at first."""

    def operate(
        self,
        scenario: Scenario,
        name: Literal["save", "load"],
        path: str,
        *,
        fresh: bool = ...,
        call: Call | None = None,
    ) -> OperationOutcome:
        """Save to, or load from, the directory ``path`` alone, as a part of an example.

        With ranks of which nothing is remembered if ``fresh``.
        """

    @property
    def begin_in_rank(self) -> Callable[[], None]:
        """In a rank, before anything else, lets nothing of DCP be as an earlier example left it; picklable."""

    @property
    def group_of(self) -> GroupOf:
        """In a rank, gives the process group of ranks, for which every rank of the world asks; picklable."""

    @property
    def report_in_rank(self) -> Callable[[Any], None]:
        """In a rank, tells what :meth:`launch` is to say of it even if the rank never ends; picklable."""

    def launch(
        self,
        body: Callable[[int], T],
        world_size: int,
        *,
        schedule: Schedule = ...,
        distributed: bool = True,
        fresh: bool | None = None,
    ) -> Launched[T]:
        """What ``body(rank)`` returns on every rank.

        By itself, or as a part of an example: then with ranks of which nothing is remembered if ``fresh``.
        """
