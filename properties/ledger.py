"""What every entry of a ledger says, whatever it is matched against."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch

__all__ = ["LedgerEntry", "Release", "first_match", "torch_release"]

Release = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """A bug or a documented limitation of DCP.

    ``loses`` says in one line what a user loses by it; ``upstream`` is its issue or pull request, where there is one,
    as ``owner/name#number``. The first release of torch that has what it is in is ``since``, ``None`` where all do, and
    the first that is free of it ``fixed_in``, ``None`` while none is known. What torch's documentation tells of is
    ``documented``.
    """

    id: str
    title: str
    loses: str
    upstream: str | None = None
    since: Release | None = None
    fixed_in: Release | None = None
    documented: bool = False

    def affects(self, release: Release) -> bool:
        """Whether that release of torch has the bug."""
        return self.is_of(release) and (self.fixed_in is None or release < self.fixed_in)

    def is_of(self, release: Release) -> bool:
        """Whether that release of torch has what its case takes."""
        return self.since is None or self.since <= release


E = TypeVar("E", bound=LedgerEntry)


def first_match(entries: Iterable[E], matches: Callable[[E], bool]) -> E | None:
    """The first entry that ``matches``, among those that the installed torch has."""
    release = torch_release()
    return next((entry for entry in entries if entry.affects(release) and matches(entry)), None)


def torch_release(version: str = torch.__version__) -> Release:
    """``(major, minor)`` of a version of torch."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
