"""Requests that fail, below a storage that has its files on a server of HTTP: which, and how, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from .concise import Concise
from .hooks import Hook
from .invalid import require

__all__ = ["REQUEST_ERRORS", "RequestFault"]

REQUEST_ERRORS = ("dropped", "truncated", "500", "503", "delayed")
"""What can happen to a request:

- ``"dropped"``: the connection is closed, and the server has not seen it
- ``"truncated"``: the server has done it, and the connection is closed in the middle of what it answers
- ``"500"``, ``"503"``: the server has not seen it, and that is the answer
- ``"delayed"``: it is done, a little later
"""

_REQUEST = Hook("storage", "request", None, "rank", 0)


@dataclass(frozen=True, repr=False)
class RequestFault(Concise):
    """A request that fails on one rank: the one behind ``skip`` others of that operation, or, if ``lasting``, each from
    there on, as of a server that is down; clients of such servers try again.

    ``error`` is one of :data:`REQUEST_ERRORS`. Counted from when the rank makes its writer or reader.
    """

    _positional: ClassVar[int] = 3

    operation: Literal["save", "load"]
    rank: int
    error: str = "503"
    skip: int = 0
    lasting: bool = False

    def __post_init__(self) -> None:
        require(self.error in REQUEST_ERRORS, f"a request is {', '.join(REQUEST_ERRORS)}, not {self.error!r}")
        require(self.skip >= 0, f"a count of requests is negative: {self.skip}")

    @property
    def hook(self) -> str:
        """What the place is called, as that of a :class:`worlds.faults.Fault`."""
        return f"request {self.skip}{' and later' if self.lasting else ''}"

    @property
    def place(self) -> Hook:
        """What is known of the place, as of a hook: nothing, since only the storage knows what it asks for and when."""
        return _REQUEST
