"""Ranks that die: where, in which save or load, and what came of it, as plain data.

Apart from :class:`worlds.scenario.Fault`, which raises: nobody can catch a death, no rank is named for it, and what has
to hold is another law. Only worlds whose ranks are processes can run these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .concise import Concise
from .hooks import HOOKS
from .invalid import InvalidScenario
from .outcome import OperationOutcome
from .scenario import Scenario
from .storages import FILE_SYSTEM

__all__ = ["FILE_PLACES", "Kill", "KilledOutcome", "KilledScenario", "kill_places"]

FILE_PLACES = {
    "save": ("file.mkdir", "file.open", "file.write", "file.remove", "file.rename"),
    "load": ("file.open",),
}
"""The operations on files at which a rank can die, below the file system storage."""


def kill_places(operation: Literal["save", "load"]) -> tuple[str, ...]:
    """Where a rank can die: at each hook of the operation, and at each operation on files."""
    return (*(name for of, name in HOOKS if of == operation), *FILE_PLACES[operation])


@dataclass(frozen=True, repr=False)
class Kill(Concise):
    """A rank dies by SIGKILL at ``place``, as one of :func:`kill_places`.

    ``skip`` is how many calls there it survives; for ``"file.write"``, how many bytes it writes first, over all of its
    files. With ``done``, it dies when the call is done instead of when it begins.
    """

    _positional = 2

    rank: int
    place: str
    skip: int = 0
    done: bool = False

    def __post_init__(self) -> None:
        if self.rank < 0 or self.skip < 0:
            raise InvalidScenario(f"a kill has a negative rank or count: {self!r}")


_EMPTY = Scenario()


@dataclass(frozen=True, repr=False)
class KilledScenario(Concise):
    """A save or load of ``scenario``, which has no faults, in which ranks die; then a load by ranks that live.

    Before a save, another one has left older values in a checkpoint: at the same path, or at another one.
    """

    _positional = 1

    scenario: Scenario = _EMPTY
    kills: tuple[Kill, ...] = (Kill(0, "writer.reset"),)
    operation: Literal["save", "load"] = "save"
    path: Literal["another", "same"] = "another"

    def __post_init__(self) -> None:
        size = self.scenario.operation(self.operation).world_size
        if self.scenario.all_faults:
            raise InvalidScenario("a scenario in which ranks die has no other faults")
        if self.scenario.damages:
            raise InvalidScenario("a scenario in which ranks die has no other damage")
        if self.scenario.storage != FILE_SYSTEM:
            raise InvalidScenario("a scenario in which ranks die is of DCP's own files")
        for kill in self.kills:
            if kill.rank >= size:
                raise InvalidScenario(f"the {self.operation} has no rank {kill.rank} to die")
            if kill.place not in kill_places(self.operation):
                raise InvalidScenario(f"a {self.operation} has no place {kill.place!r} to die at")
        if len({kill.rank for kill in self.kills}) < len(self.kills):
            raise InvalidScenario("a rank dies once")


@dataclass(frozen=True)
class KilledOutcome:
    """What came of it. ``died`` are the places in ``kills`` that were reached.

    ``operation`` and ``later`` are ``None`` where what came before did not return, which other laws judge.
    """

    before: OperationOutcome
    operation: OperationOutcome | None = None
    died: tuple[int, ...] = ()
    earlier_changed: tuple[str, ...] = ()
    """The files of the earlier checkpoint, where it is not at the same path or is only read, that are not as before."""
    later: OperationOutcome | None = None
    """The load afterwards, of the path at which ranks have died."""
