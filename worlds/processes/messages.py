"""What the driver and a rank process say to each other, over one connection that carries bytes.

The driver sends :data:`LOOK`, or a pickled job: a callable that takes nothing. A rank sends pickled messages: what it
reaches on the way, and for each job one :class:`Done` or :class:`Broken`; for each look one :class:`Seen`, at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..outcome import Waiting

__all__ = ["DAEMON", "LOOK", "Broken", "Done", "Reached", "Seen", "Standing"]

LOOK = b"look"

DAEMON = Waiting("the daemon of async_save")
"""What a rank waits for whose daemon saves."""


@dataclass(frozen=True)
class Standing:
    """Where a Python thread of a rank stands.

    ``waits`` is set where nothing but another thread or rank can let it go on: in a collective, or in a wait without a
    time limit; ``collective`` tells the two apart. ``place`` is equal as long as the thread has not moved, and
    ``stack`` is for the reader, and ``inside`` where in DCP it is. ``native_id`` is the system's number of the thread.
    """

    native_id: int
    main: bool
    waits: Waiting | None
    collective: bool
    place: tuple[object, ...]
    stack: str
    inside: str


@dataclass(frozen=True)
class Seen:
    """Where the threads of a rank stand, without the one that looks; its own number is ``watcher``."""

    threads: tuple[Standing, ...]
    watcher: int


@dataclass(frozen=True)
class Reached:
    """A rank reached something that is to be known even if it never ends; in practice, a fault."""

    what: Any


@dataclass(frozen=True)
class Done:
    """A job returned ``value``; how many process groups there are then, and collectives of the default one were."""

    value: Any
    groups: int
    collectives: int


@dataclass(frozen=True)
class Broken:
    """A job raised: the exception pickled, where that can be done, and its traceback as text."""

    error: bytes | None
    text: str
