"""What came of a function that ran on every rank of a world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .outcome import Deadlocked, Died

__all__ = ["Launched"]

T = TypeVar("T")


@dataclass(frozen=True)
class Launched(Generic[T]):
    """What each rank's body returned, or that it waits for ever or died; and a line for each time that one went on.

    There are no such lines where the world does not decide who runs. ``reported`` is what ranks said on their way, by
    :attr:`worlds.example.ExampleWorld.report_in_rank`.
    """

    ranks: tuple[T | Deadlocked | Died, ...]
    schedule: tuple[str, ...]
    reported: tuple[Any, ...] = ()
