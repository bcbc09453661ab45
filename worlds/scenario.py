"""The scenario: everything that one example does, as plain frozen data.

A scenario holds no tensor, process group or storage. Any world can run it, ``eval(repr(s)) == s`` holds with the names
of this module, and :meth:`Scenario.to_json` / :meth:`Scenario.from_json` convert it to JSON and back.

Whatever can be constructed is legal input for DCP, so that a failure to save or load it is never the scenario's fault:
each class checks itself and raises :class:`InvalidScenario` with one line that says what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .concise import Concise
from .dtypes import DTYPES
from .errors import ERRORS
from .hooks import HOOKS, Hook

__all__ = [
    "ChunkSharding",
    "Entry",
    "Fault",
    "InvalidScenario",
    "ObjectEntry",
    "Operation",
    "Scenario",
    "Schedule",
    "TensorEntry",
    "Value",
    "WriterOptions",
]

type_of_value = (type(None), bool, int, float, str, bytes, tuple)
Value = None | bool | int | float | str | bytes | tuple["Value", ...]


class InvalidScenario(ValueError):
    """What was given is no legal scenario, or no scenario at all; the message is one line."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidScenario(message)


@dataclass(frozen=True, repr=False)
class ChunkSharding(Concise):
    """A ``ChunkShardingSpec``: ``dim`` is cut as by ``torch.chunk`` into ``len(ranks)`` chunks, one on each.

    ``dim`` may be negative, a rank may be left out, come in any order, and hold more than one chunk. Ranks are numbered
    within the world.
    """

    _positional = 2

    dim: int
    ranks: tuple[int, ...]

    def __post_init__(self) -> None:
        _require(len(self.ranks) > 0, "a chunk sharding needs at least one placement")
        _require(min(self.ranks) >= 0, f"a placement is on a negative rank: {self.ranks}")

    def chunks(self, shape: Sequence[int]) -> list[tuple[int, tuple[int, ...], tuple[int, ...]]]:
        """The chunks of a tensor of that shape, in order: (rank, offsets, sizes), the empty ones at the end too.

        This is the definition of ``torch.chunk`` with the tail filled up: all chunks have ``ceil(size / n)`` rows but
        the last non-empty one, and those behind it have none and start at the end.
        """
        dim = self.dim % len(shape)
        size = shape[dim]
        rows = math.ceil(size / len(self.ranks))
        found = []
        for index, rank in enumerate(self.ranks):
            start = min(index * rows, size)
            stop = min(start + rows, size)
            offsets = tuple(start if d == dim else 0 for d in range(len(shape)))
            sizes = tuple(stop - start if d == dim else extent for d, extent in enumerate(shape))
            found.append((rank, offsets, sizes))
        return found


@dataclass(frozen=True, repr=False)
class TensorEntry(Concise):
    """A tensor of the state dict: a ``ShardedTensor`` where a sharding is given, else a plain one, equal on all ranks.

    ``fill`` says which bits it has: ``"distinct"`` (as unequal as the dtype allows) or ``"special"`` (NaNs with
    payloads, infinities, negative zeros, extreme integers); see :mod:`worlds.values`.
    """

    _positional = 2

    fqn: str
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    saved: ChunkSharding | None = None
    loaded: ChunkSharding | None = None
    fill: Literal["distinct", "special"] = "distinct"

    def __post_init__(self) -> None:
        _require(all(extent >= 0 for extent in self.shape), f"{self.fqn!r} has a negative extent: {self.shape}")
        _require(self.dtype in DTYPES, f"{self.fqn!r} has a dtype that this torch cannot save: {self.dtype!r}")
        _require(self.fill in ("distinct", "special"), f"{self.fqn!r} has an unknown fill: {self.fill!r}")
        for sharding in (self.saved, self.loaded):
            if sharding is not None:
                fits = -len(self.shape) <= sharding.dim < len(self.shape)
                _require(fits, f"{self.fqn!r} of shape {self.shape} has no dim {sharding.dim} to shard")


@dataclass(frozen=True, repr=False)
class ObjectEntry(Concise):
    """A non-tensor object of the state dict, equal on all ranks."""

    _positional = 2

    fqn: str
    value: Value = None

    def __post_init__(self) -> None:
        _require(_is_value(self.value), f"{self.fqn!r} has a value that a scenario cannot hold: {self.value!r}")


Entry = TensorEntry | ObjectEntry


def _is_value(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_value, value))
    if isinstance(value, float):
        return math.isfinite(value)  # NaN is unequal to itself, and the repr of infinity is no Python
    return isinstance(value, type_of_value)


@dataclass(frozen=True, repr=False)
class Schedule(Concise):
    """Which runnable rank goes first: ranks in this order, then the others in their own; ``()`` is the natural order.

    With ``threads_first``, a thread that a rank starts runs at once, until it ends or waits; else it starts when the
    rank waits for it.
    """

    order: tuple[int, ...] = ()
    threads_first: bool = False

    def __post_init__(self) -> None:
        _require(len(set(self.order)) == len(self.order), f"a schedule names a rank twice: {self.order}")


@dataclass(frozen=True, repr=False)
class Operation(Concise):
    """One save or load: its world, its coordinator, and the API that is called.

    ``api="legacy"`` is ``save_state_dict``/``load_state_dict``, the only one that lets the coordinator be chosen;
    ``"current"`` is ``save``/``load``. With ``distributed=False`` there is one rank and no process group (``no_dist``).
    """

    world_size: int = 1
    coordinator: int = 0
    api: Literal["current", "legacy"] = "current"
    distributed: bool = True
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        _require(self.world_size >= 1, f"a world needs a rank, not {self.world_size}")
        _require(0 <= self.coordinator < self.world_size, f"coordinator {self.coordinator} is not in the world")
        _require(self.api in ("current", "legacy"), f"unknown API: {self.api!r}")
        _require(self.coordinator == 0 or self.api == "legacy", "only the legacy API lets the coordinator be chosen")
        _require(self.distributed or self.world_size == 1, "without torch.distributed there is one rank")
        _require(all(0 <= rank < self.world_size for rank in self.schedule.order), "a schedule names a rank too many")


@dataclass(frozen=True, repr=False)
class WriterOptions(Concise):
    """Options of ``FileSystemWriter``. ``sync_files`` is off here: fsync protects from what no world does."""

    single_file_per_rank: bool = True
    sync_files: bool = False
    thread_count: int = 1

    def __post_init__(self) -> None:
        _require(self.thread_count >= 1, f"a writer needs a thread, not {self.thread_count}")


@dataclass(frozen=True, repr=False)
class Fault(Concise):
    """An exception on one rank at one hook: raised in the call, or set on the future that the call returns.

    ``hook`` is a key of :data:`worlds.hooks.HOOKS` such as ``"writer.write_data"``, ``error`` one of
    :data:`worlds.errors.ERRORS`.
    """

    _positional = 3

    operation: Literal["save", "load"]
    rank: int
    hook: str
    error: str = "OSError"
    through: Literal["call", "future"] = "call"

    def __post_init__(self) -> None:
        _require((self.operation, self.hook) in HOOKS, f"a {self.operation} has no hook {self.hook!r}")
        _require(self.error in ERRORS, f"unknown error: {self.error!r}")
        _require(self.through == "call" or self.place.future, f"{self.hook!r} returns no future")

    @property
    def place(self) -> Hook:
        """What is known of the hook."""
        return HOOKS[self.operation, self.hook]


@dataclass(frozen=True, repr=False)
class Scenario(Concise):
    """A save in one world, then a load of it in another, with faults.

    ``container`` is what holds the entries: a plain ``"dict"``, or the state dict of a ``"module"`` with the tensors as
    its parameters, buffers and attributes.
    """

    _positional = 0

    entries: tuple[Entry, ...] = ()
    save: Operation = Operation()
    load: Operation = Operation()
    writer: WriterOptions = WriterOptions()
    container: Literal["dict", "module"] = "dict"
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        names = [entry.fqn for entry in self.entries]
        _require(len(set(names)) == len(names), f"two entries have one name: {sorted(names)}")
        for entry in self.entries:
            if isinstance(entry, TensorEntry):
                self._check_sharding(entry.fqn, entry.saved, self.save)
                self._check_sharding(entry.fqn, entry.loaded, self.load)
        self._check_container()
        self._check_faults()

    def operation(self, name: Literal["save", "load"]) -> Operation:
        """The operation of that name."""
        return self.save if name == "save" else self.load

    def to_json(self) -> str:
        """This scenario as JSON text, which :meth:`from_json` reads."""
        from .codec import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str) -> Scenario:
        """The scenario that :meth:`to_json` wrote; raises :class:`InvalidScenario` with one line if it is none."""
        from .codec import from_json

        return from_json(text)

    def _check_sharding(self, fqn: str, sharding: ChunkSharding | None, operation: Operation) -> None:
        if sharding is not None:
            _require(operation.distributed, f"{fqn!r} is sharded, which takes a process group")
            _require(max(sharding.ranks) < operation.world_size, f"{fqn!r} has a placement outside the world")

    def _check_container(self) -> None:
        _require(self.container in ("dict", "module"), f"unknown container: {self.container!r}")
        if self.container == "module":
            for entry in self.entries:
                _require(isinstance(entry, TensorEntry), f"a module holds tensors only, not {entry.fqn!r}")
                _require(entry.fqn.isidentifier(), f"{entry.fqn!r} is no name for an attribute of a module")

    def _check_faults(self) -> None:
        places = [(fault.operation, fault.rank, fault.hook, fault.through) for fault in self.faults]
        _require(len(set(places)) == len(places), "two faults are in one place")
        for fault in self.faults:
            inside = 0 <= fault.rank < self.operation(fault.operation).world_size
            _require(inside, f"the {fault.operation} has no rank {fault.rank} to fail")
