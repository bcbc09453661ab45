"""How a save or a load is called, as plain data: its world and group, the API, the options, the order of the ranks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

from .concise import Concise
from .invalid import require

__all__ = [
    "STAGERS",
    "UPLOADS",
    "Api",
    "Extension",
    "NamedBy",
    "Operation",
    "PlannerOptions",
    "Schedule",
    "Stager",
    "WriterOptions",
]

Api = Literal["current", "legacy", "async", "uncoordinated", "async uncoordinated"]
"""``save``/``load``, ``save_state_dict``/``load_state_dict``, ``async_save``; the first and the last of them with
``use_collectives=False``."""

UPLOADS: tuple[Api, ...] = ("async", "async uncoordinated")
"""Those that write in the background, what a stager has copied."""

NamedBy = Literal["both", "path", "storage"]
"""What a call names the checkpoint by: the ``checkpoint_id`` and a storage; the ``checkpoint_id`` alone, for which DCP
finds a storage; a storage alone, which knows the path from whoever made it, or from the last call that told it one."""

Stager = Literal[
    "writer",
    "default",
    "shared",
    "background",
    "shared background",
    "synchronized background",
    "pinned shared background",
]
"""What copies the state dict for ``async_save``: the writer itself; a ``DefaultStager``; one that puts the copy into
shared memory; one that copies in a thread of its own; one that does both; one with a thread that is waited for by
``synchronize_staging``, and not by the future that ``async_save`` returns; and one as a ``DefaultStager`` is by itself,
which also pins the memory, and does not wait for each copy: it takes an accelerator."""

STAGERS: tuple[Stager, ...] = get_args(Stager)[:-1]
"""Those that any machine has."""

Extension = Literal["inverted", "deflated", "zstandard"]
"""What changes each byte of an item, as a cipher does; what changes its length; and torch's own ``ZStandard``."""


@dataclass(frozen=True, repr=False)
class Schedule(Concise):
    """Which runnable rank goes first: ranks in this order, then the others in their own; ``()`` is the natural order.

    With ``threads_first``, a thread that a rank starts runs at once, until it ends or waits; else it starts when the
    rank waits for it.
    """

    order: tuple[int, ...] = ()
    threads_first: bool = False

    def __post_init__(self) -> None:
        require(len(set(self.order)) == len(self.order), f"a schedule names a rank twice: {self.order}")


@dataclass(frozen=True, repr=False)
class Operation(Concise):
    """One save or load: its ranks, its coordinator, and the API that is called.

    ``world_size`` is the number of ranks that take part, and ranks are numbered among them. With ``members`` they are a
    sub-group: those are their ranks in the whole world, which goes up to the last of them. ``api="legacy"`` is the only
    one that lets the coordinator be chosen. With ``distributed=False`` there is one rank and no process group; with
    ``no_dist`` one rank that saves or loads by itself alone. Where ``rotated``, each rank has the keys of its state
    dict in another order. The checkpoint is ``named_by`` its id, a storage, or both, but for the legacy API, which
    takes the storage alone. A call by the ``"path"`` gives no planner either if that has no options: DCP finds them by
    itself, and in ``async_save`` makes and ends its ``"default"`` stager. Where ``pathlike``, the checkpoint is named
    by a ``pathlib.Path`` wherever it is named.
    """

    world_size: int = 1
    coordinator: int = 0
    api: Api = "current"
    distributed: bool = True
    schedule: Schedule = Schedule()
    members: tuple[int, ...] = ()
    no_dist: bool = False
    rotated: bool = False
    stager: Stager = "writer"
    named_by: NamedBy = "both"
    pathlike: bool = False

    def __post_init__(self) -> None:
        require(self.world_size >= 1, f"a world needs a rank, not {self.world_size}")
        require(0 <= self.coordinator < self.world_size, f"coordinator {self.coordinator} is not in the world")
        require(self.api in get_args(Api), f"unknown API: {self.api!r}")
        require(self.coordinator == 0 or self.api == "legacy", "only the legacy API lets the coordinator be chosen")
        require(self.distributed or self.world_size == 1, "without torch.distributed there is one rank")
        require(all(0 <= rank < self.world_size for rank in self.schedule.order), "a schedule names a rank too many")
        require(self.stager == "writer" or self.uploads, "only async_save has a stager")
        require(self.stager in get_args(Stager), f"unknown stager: {self.stager!r}")
        require(self.named_by in get_args(NamedBy), f"a checkpoint is named by no {self.named_by!r}")
        require(self.named_by == "both" or self.api != "legacy", "the legacy API takes a storage, and no id")
        own = not self.by_path or not self.uploads or self.stager == "default"
        require(own, f"without a writer, async_save makes a default stager, and not one that is {self.stager!r}")
        require(not self.no_dist or self.world_size == 1, "no_dist is for one rank")
        self._check_members()

    def _check_members(self) -> None:
        if self.members:
            require(self.distributed, "a sub-group takes torch.distributed")
            require(len(self.members) == self.world_size, f"{len(self.members)} members of {self.world_size} ranks")
            # torch.distributed.new_group sorts the ranks that it is given.
            require(sorted(set(self.members)) == list(self.members), f"members are not in order: {self.members}")
            require(self.members[0] >= 0, f"a member is negative: {self.members}")

    @property
    def whole_world(self) -> int:
        """The size of the world that the ranks are in; larger than ``world_size`` where they are a sub-group."""
        return max(self.world_size, max(self.members, default=-1) + 1)

    def global_rank(self, rank: int) -> int:
        """The rank within the whole world."""
        return self.members[rank] if self.members else rank

    @property
    def by_path(self) -> bool:
        """Whether DCP finds the storage by the checkpoint's path alone."""
        return self.named_by == "path"

    @property
    def tells_path(self) -> bool:
        """Whether the call tells the storage the checkpoint's path."""
        return self.named_by != "storage" and self.api != "legacy"

    @property
    def coordinated(self) -> bool:
        """Whether ranks tell each other who failed."""
        return self.api not in ("uncoordinated", "async uncoordinated")

    @property
    def uploads(self) -> bool:
        """Whether it is an ``async_save``."""
        return self.api in UPLOADS

    @property
    def with_collectives(self) -> Operation:
        """The same by ranks that tell each other who failed."""
        if self.coordinated:
            return self
        return replace(self, api="async" if self.uploads else "current")


@dataclass(frozen=True, repr=False)
class WriterOptions(Concise):
    """Options of ``FileSystemWriter``. ``sync_files`` is off here: fsync protects from what no world does.

    ``cache_staged_state_dict`` takes pinned memory, and so a GPU, where the writer is the stager of ``async_save``.
    ``extensions`` are what each item is passed through, the last one first (:mod:`worlds.extensions`).
    ``file_indices``, which the writer of safetensors alone has, gives names the number of the file that each goes to;
    with ``()`` there is one file.
    """

    single_file_per_rank: bool = True
    sync_files: bool = False
    thread_count: int = 1
    per_thread_copy_ahead: int = 10_000_000
    overwrite: bool = True
    cache_staged_state_dict: bool = False
    extensions: tuple[Extension, ...] = ()
    file_indices: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        require(self.thread_count >= 1, f"a writer needs a thread, not {self.thread_count}")
        require(all(number > 0 for _, number in self.file_indices), f"a file is numbered from 1: {self.file_indices}")
        names = [name for name, _ in self.file_indices]
        require(len(set(names)) == len(names), f"a name goes to two files: {self.file_indices}")
        require(self.per_thread_copy_ahead >= 0, f"bytes to copy ahead are negative: {self.per_thread_copy_ahead}")
        unknown = [name for name in self.extensions if name not in get_args(Extension)]
        require(not unknown, f"there is no extension {', '.join(map(repr, unknown))}")

    @property
    def known_to_torch(self) -> bool:
        """Whether a reader that is told of no extension can read what is written."""
        return set(self.extensions) <= {"zstandard"}


@dataclass(frozen=True, repr=False)
class PlannerOptions(Concise):
    """Options of ``DefaultSavePlanner`` and ``DefaultLoadPlanner``; those that both have go to both."""

    _positional: ClassVar[int] = 0

    flatten_state_dict: bool = True
    flatten_sharded_tensors: bool = True
    dedup_save_to_lowest_rank: bool = False
    enable_plan_caching: bool = False
    allow_partial_load: bool = False
