"""What came of a training that was given what does not fit it, as plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from ..outcome import Deadlocked, Died, Raised
from .outcome import Failed, Held

__all__ = ["Ended", "GoesOn", "MisfitOutcome", "Took"]


@dataclass(frozen=True)
class Took:
    """The call returned: the keys that it reported, and what the rank held then.

    That is text where it is nothing that a training holds, as a tensor of another size than its parameter.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    held: Held | str


@dataclass(frozen=True)
class GoesOn:
    """What the rank held when it had been given what is right, and after a step more."""

    loaded: Held | str
    stepped: Held | str


@dataclass(frozen=True)
class Ended:
    """What a training came to on a rank: what came of the call, and of what is right after that.

    A call on what is right, or a step, that raises is :class:`Failed`.
    """

    call: Took | Raised
    then: GoesOn | Failed


@dataclass(frozen=True)
class MisfitOutcome:
    """What came of it on every rank.

    ``alone`` is another training of the same that is given what is right in the place of what is wrong; the ranks said
    so on their way, and so did they of each of the ``calls`` that gives what is wrong: what is ``None`` has not come to
    its end. ``ranks`` is what all came to, which is :class:`Failed` where there is nothing to give, since a training
    raised before that. ``name`` is of what is wrong: of a key, or of a parameter, if it is of one.
    """

    name: str
    alone: tuple[Ended | None, ...]
    calls: tuple[Took | Raised | None, ...]
    ranks: tuple[Ended | Failed | Deadlocked | Died, ...]
