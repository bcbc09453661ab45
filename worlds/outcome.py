"""What every rank saw of one scenario, as plain frozen data: the judge, a report and a newer judge read only this."""

from __future__ import annotations

from dataclasses import dataclass, field

from .entries import Path

__all__ = [
    "ChunkRecord",
    "ChunkState",
    "ContainerState",
    "DamagedFile",
    "Deadlocked",
    "Died",
    "EntryState",
    "ErrorRecord",
    "FileRecord",
    "Hit",
    "MetadataRecord",
    "ObjectState",
    "OperationOutcome",
    "Outcome",
    "Raised",
    "RankOutcome",
    "Returned",
    "StorageRecord",
    "TensorRecord",
    "TensorState",
    "Waiting",
]


@dataclass(frozen=True)
class ErrorRecord:
    """An exception as data: its qualified type, and its message (the head of a long one, with its length)."""

    type: str
    message: str
    place: str = field(default="", compare=False, repr=False)
    """The innermost frame inside DCP, or else inside torch, as ``file:function``, where that is known."""


@dataclass(frozen=True)
class ChunkState:
    """A part of a tensor that a rank holds: where it is in the global tensor, and its bytes in row-major order."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class TensorState:
    """A tensor as a rank holds it after an operation.

    ``in_place`` is false when it is no longer the object that was handed in, ``guards_intact`` when memory beside the
    tensor, in the same storage, was written. On the meta device it has chunks without data.
    """

    path: Path
    kind: str
    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[ChunkState, ...]
    in_place: bool = True
    guards_intact: bool = True
    is_meta: bool = False
    on_accelerator: bool = False


@dataclass(frozen=True)
class ObjectState:
    """A non-tensor object, or a tuple, as a rank holds it after an operation: its type's name, its content as text."""

    path: Path
    type: str
    text: str


@dataclass(frozen=True)
class ContainerState:
    """A dict, a list or a ``Stateful`` object in the state dict; not ``in_place`` where it was another one before."""

    path: Path
    type: str
    in_place: bool = True


EntryState = TensorState | ObjectState | ContainerState


@dataclass(frozen=True)
class ChunkRecord:
    """A chunk in the metadata of a checkpoint."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class TensorRecord:
    """A tensor in the metadata of a checkpoint."""

    fqn: str
    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[ChunkRecord, ...]


@dataclass(frozen=True)
class StorageRecord:
    """Where a chunk, or with ``offsets=None`` an object, is kept: ``length`` bytes of a file from ``start`` on."""

    fqn: str
    offsets: tuple[int, ...] | None
    file: str
    start: int
    length: int


@dataclass(frozen=True)
class FileRecord:
    """A file of a checkpoint that holds data, and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class DamagedFile:
    """A file that is no longer as it was saved: its size in bytes ``before`` and ``after``, ``None`` for no such file.

    ``changed`` are runs of bytes, from the first up to and without the second, that are not as they were: those behind
    its end too, as far as the file went.
    """

    file: str
    before: int | None
    after: int | None
    changed: tuple[tuple[int, int], ...] = ()
    same_as: str = ""
    """The file whose content it has now, as that was saved, if there is one."""


@dataclass(frozen=True)
class MetadataRecord:
    """The metadata of a checkpoint, sorted by name; ``storage`` is empty where the storage keeps no such index."""

    tensors: tuple[TensorRecord, ...]
    objects: tuple[str, ...]
    storage: tuple[StorageRecord, ...]


@dataclass(frozen=True)
class Returned:
    """The call returned. ``state`` is the state dict afterwards, in its order; ``metadata`` is what a save returned."""

    state: tuple[EntryState, ...]
    metadata: MetadataRecord | None = None


@dataclass(frozen=True)
class Raised:
    """The call raised. ``failures`` is ``None`` unless it was a ``CheckpointException``; else rank to exception.

    ``state`` is the state dict afterwards, in its order.
    """

    error: ErrorRecord
    phase: str | None = None
    failures: tuple[tuple[int, ErrorRecord], ...] | None = None
    origin: str = ""
    """The innermost frame inside torch or the standard library, as ``file:function``, for an unexpected exception."""
    state: tuple[EntryState, ...] = ()


@dataclass(frozen=True)
class Waiting:
    """Where a rank stands: the n-th collective of a group (global ranks, in group order), or a thread or lock."""

    what: str
    group: tuple[int, ...] = ()
    count: int = 0

    def __str__(self) -> str:
        if not self.group:
            return self.what
        return f"{self.what} (collective {self.count} of group {list(self.group)})"


@dataclass(frozen=True)
class Deadlocked:
    """The rank waits for ever: every rank that has not left waits too.

    ``stack`` is its Python stack, the innermost call last, where the world can tell it; no two worlds agree on it.
    ``place`` is the innermost frame of it inside DCP, or else inside torch, as ``file:function``.
    """

    waiting: Waiting
    stack: str = field(default="", compare=False, repr=False)
    place: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class Died:
    """The rank's process ended before the call did."""

    reason: str


RankOutcome = Returned | Raised | Deadlocked | Died


@dataclass(frozen=True)
class Hit:
    """A fault that was reached: its place in ``Scenario.all_faults``, and whether in a thread that is not the rank's.

    Of a fault below a storage, ``raised`` is the hook that has failed on its rank; a hit without it says that the fault
    struck.
    """

    index: int
    thread: bool = False
    raised: str = ""


@dataclass(frozen=True)
class OperationOutcome:
    """One save or load: what each rank saw, the faults that were reached in their order, and who ran when.

    ``schedule`` has a line for each time that a rank went on after it had waited: who, and for what it had waited.
    """

    ranks: tuple[RankOutcome, ...]
    hits: tuple[Hit, ...] = ()
    schedule: tuple[str, ...] = ()

    @property
    def returned(self) -> bool:
        """Whether the call returned on every rank."""
        return all(isinstance(rank, Returned) for rank in self.ranks)

    @property
    def goes_on(self) -> bool:
        """Whether every rank came to an end of it, and can make another call."""
        return not any(isinstance(rank, Deadlocked | Died) for rank in self.ranks)


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario. ``load`` is ``None`` where the save did not return on every rank."""

    save: OperationOutcome
    load: OperationOutcome | None = None
    metadata: MetadataRecord | None = None
    """The metadata as a new reader reads it after the save."""
    metadata_error: ErrorRecord | None = None
    """What reading the metadata after the save raised."""
    files: tuple[FileRecord, ...] | None = ()
    """``None`` where the storage does not tell."""
    damaged: tuple[DamagedFile, ...] = ()
    """The files that damage has been done to after that, in the order of their names."""
    places: MetadataRecord | None = None
    """Where everything was before it was damaged, where that is in the files themselves and in no metadata."""
