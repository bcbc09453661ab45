"""A call of DCP with an argument that it cannot have, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from .concise import Concise
from .entries import Entry, Nested
from .invalid import require
from .layouts import Plain
from .operations import Api, Operation
from .outcome import OperationOutcome, Outcome
from .scenario import Scenario

__all__ = ["CALLS", "OF_GROUP", "OF_SOME", "Kind", "Misuse", "MisuseOutcome", "kinds_of"]

Kind = Literal[
    "no name",
    "no state",
    "list for a state",
    "number for an id",
    "id of no storage",
    "path for a storage",
    "storage's class",
    "storage for the other",
    "planner's class",
    "planner for the other",
    "text for a group",
    "group of others",
    "coordinator behind the last",
    "coordinator below 0",
    "no_dist",
    "no collectives",
    "no threads",
    "threads below 0",
    "copy ahead below 0",
    "format by its name",
    "executor by its name",
    "stager's class",
    "over a checkpoint",
]
"""What is wrong.

Neither a ``checkpoint_id`` nor a storage; ``None`` or a list in the place of the state dict; a number for the id; an id
for which DCP finds no storage; the path, the class, or what is for the other direction, in the place of the storage or
of the planner: a reader where a writer is due. Text for the process group; a group that the rank is not in; a
coordinator that it has not. ``no_dist`` where there are several ranks, ``use_collectives=False`` on some of them. Of
``FileSystemWriter``, ``thread_count=0`` and ``-1``, ``per_thread_copy_ahead=-1``, the serialization format's name, as
``"torch_save"``, and ``overwrite=False`` where there is a checkpoint. Of ``async_save``, the name of the executor's
type and the class of a stager.
"""

Name = Literal["save", "load"]

CALLS: Mapping[Name, tuple[Api, ...]] = {"save": ("current", "legacy", "async"), "load": ("current", "legacy")}
"""The APIs by which a checkpoint is saved and loaded here."""

_OF_ALL: tuple[Kind, ...] = get_args(Kind)[:12]
_OF_LEGACY: tuple[Kind, ...] = ("coordinator behind the last", "coordinator below 0")
_OF_WRITER: tuple[Kind, ...] = (
    "no threads",
    "threads below 0",
    "copy ahead below 0",
    "format by its name",
    "over a checkpoint",
)
_OF_ASYNC: tuple[Kind, ...] = ("executor by its name", "stager's class")
_BY_ID: tuple[Kind, ...] = ("number for an id", "id of no storage")

OF_SOME: tuple[Kind, ...] = ("group of others", "no collectives")
"""What is wrong only where some ranks do it."""

OF_GROUP: tuple[Kind, ...] = ("text for a group", "group of others", *_OF_LEGACY, "no_dist", "no collectives")
"""What is about a process group."""

_DUE = Operation()


def kinds_of(name: Name, api: Api) -> tuple[Kind, ...]:
    """What can be wrong in a call of that API."""
    found = [kind for kind in _OF_ALL if api != "legacy" or kind not in _BY_ID]
    found += _OF_LEGACY if api == "legacy" else ()
    found.append("no_dist")
    if name == "save":
        found += _OF_WRITER
        found += _OF_ASYNC if api == "async" else ()
        found += ("no collectives",) if api in ("current", "async") else ()
    return tuple(found)


@dataclass(frozen=True, repr=False)
class Misuse(Concise):
    """A save or a load in which ``ranks``, or all for ``()``, give an argument that is wrong, and the others none.

    What is wrong is of a ``kind``; all else is as it must be. The checkpoint is of ``entries``; where one is saved, it
    is the first at its place, or is ``over`` another one of the same. A load is of what was saved by the same ranks.
    """

    kind: Kind = "no name"
    name: Name = "save"
    operation: Operation = _DUE
    ranks: tuple[int, ...] = ()
    entries: tuple[Entry, ...] = ()
    over: bool = False

    def __post_init__(self) -> None:
        operation, size = self.operation, self.operation.world_size
        require(self.name in CALLS, f"a checkpoint is saved or loaded, and not {self.name!r}")
        require(operation.api in CALLS[self.name], f"there is no {self.name} by the API {operation.api!r} here")
        require(self.kind in kinds_of(self.name, operation.api), f"{operation.api} {self.name} takes no {self.kind!r}")
        plain = replace(_DUE, world_size=size, api=operation.api, distributed=operation.distributed)
        require(replace(operation, schedule=_DUE.schedule) == plain, f"{operation!r} has more than it is to have here")
        require(operation.distributed or self.kind not in OF_GROUP, f"{self.kind} takes a process group")
        require(self.ranks == tuple(sorted(set(self.ranks))), f"ranks are not in order: {self.ranks}")
        require(all(0 <= rank < size for rank in self.ranks), f"a rank is not among {size}: {self.ranks}")
        require(len(self.ranks) < size, "all ranks are those of ()")
        require(bool(self.ranks) or self.kind not in OF_SOME, f"{self.kind} is of some ranks")
        several = size > 1 and (self.name == "load" or len(self.wrong) == 1)
        require(self.kind != "no_dist" or several, "no_dist is wrong where there are others; several would race")
        require(not self.over or self.name == "save", "a load is of a checkpoint anyway")
        require(self.over or self.kind != "over a checkpoint", "there is to be a checkpoint")
        whole = all(not isinstance(entry, Nested) and entry.saved in (None, Plain()) for entry in self.entries)
        require(whole or self.kind not in ("group of others", "no_dist"), f"{self.kind} takes what each rank has whole")
        _ = self.scenario  # which checks the rest

    @property
    def wrong(self) -> tuple[int, ...]:
        """The ranks that give what is wrong."""
        return self.ranks or tuple(range(self.operation.world_size))

    @property
    def scenario(self) -> Scenario:
        """The same as if nothing were wrong, which the calls before and after are."""
        legal = replace(self.operation, api="current")
        return Scenario(self.entries, save=legal, load=legal)


@dataclass(frozen=True)
class MisuseOutcome:
    """What came of it, as far as the ranks go on.

    ``before`` is the save of the checkpoint that is there, if one is; ``call`` what is wrong, and ``changed`` which
    files it has written or removed. Where a save returned, ``loaded`` is what is loaded of it. In the end ``after`` is
    a save to another place, and a load.
    """

    before: OperationOutcome | None = None
    call: OperationOutcome | None = None
    changed: tuple[str, ...] = ()
    loaded: OperationOutcome | None = None
    after: Outcome | None = None
