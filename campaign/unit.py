"""What a worker is given to do: one law, for a slice of time, with a seed of its own."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Unit", "seed_of"]


@dataclass(frozen=True)
class Unit:
    """The examples of a law from a seed on, for so many seconds or so many examples, whichever comes first.

    What is drawn depends on the law and the seed alone, so that a longer slice begins as a shorter one does. What is
    ``known`` is counted, and does not keep the unit from going on; anything else is shrunk, for ``shrink_seconds`` at
    most.
    """

    id: str
    law: str
    seed: int
    seconds: float
    examples: int | None = None
    shrink_seconds: float = 60
    known: tuple[str, ...] = ()

    def to_data(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @staticmethod
    def from_data(data: dict[str, Any]) -> Unit:
        """The unit that :meth:`to_data` told of."""
        return Unit(**{**data, "known": tuple(data["known"])})


def seed_of(campaign: int, law: str, number: int) -> int:
    """The seed of the n-th unit of a law, which no other unit of the campaign has, in whatever shard it runs."""
    return zlib.crc32(f"{campaign} {law} {number}".encode())
