"""Where a rank fails, and with what, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from .concise import Concise
from .errors import ERRORS
from .hooks import HOOKS, Hook
from .invalid import require

__all__ = ["Fault"]


@dataclass(frozen=True, repr=False)
class Fault(Concise):
    """An exception on one rank at one hook: raised in the call, or set on the future that the call returns.

    ``hook`` is a key of :data:`worlds.hooks.HOOKS` such as ``"writer.write_data"``, ``error`` one of
    :data:`worlds.errors.ERRORS`.
    """

    _positional: ClassVar[int] = 3

    operation: Literal["save", "load"]
    rank: int
    hook: str
    error: str = "OSError"
    through: Literal["call", "future"] = "call"

    def __post_init__(self) -> None:
        require((self.operation, self.hook) in HOOKS, f"a {self.operation} has no hook {self.hook!r}")
        require(self.error in ERRORS, f"unknown error: {self.error!r}")
        require(self.through == "call" or self.place.future, f"{self.hook!r} returns no future")

    @property
    def place(self) -> Hook:
        """What is known of the hook."""
        return HOOKS[self.operation, self.hook]
