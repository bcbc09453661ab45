"""Histories: saves and loads of one training, one after the other over a few checkpoints, as plain data.

A :class:`worlds.sequences.SaveSequence` saves states that differ to paths of their own, and asks what the planner
remembers; a history saves the same names with other values, over and beside what is there, and asks what may be seen.
Its steps are a tuple that is drawn as a list, and no calls of a ``RuleBasedStateMachine``: so a history replays from
its text, in any world, and shrinks by leaving out steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from .concise import Concise
from .entries import LAST_STEP, Key, ObjectEntry, TensorEntry
from .faults import Fault
from .file_faults import FileFault
from .invalid import require
from .layouts import ChunkSharding, Layout, MeshSharding, Plain
from .operations import Operation, PlannerOptions, WriterOptions
from .outcome import ErrorRecord, FileRecord, MetadataRecord, OperationOutcome, Outcome, Raised
from .scenario import Scenario
from .storages import FILE_SYSTEM

__all__ = ["Again", "History", "HistoryOutcome", "Load", "Save", "SaveAlone", "Step", "StepOutcome"]

Again = Literal["writer", "reader", "planner", "stager", "tensors"]
"""What of an earlier step is used again; ``"reader"`` is for loads, ``"writer"``, ``"stager"`` and ``"tensors"`` for
saves: plain tensors, that have other values by then. All that is not used again is new."""


@dataclass(frozen=True, repr=False)
class Save(Concise):
    """A save to the checkpoint ``at``, of what the training has at this step; without some of the entries.

    What it uses ``again`` is what the last step of this job with the same options used, if there was one; all else, and
    all that has a thread of its own, is new. A refusal by ``overwrite=False`` is of healthy ranks. Ranks fail at hooks,
    or in operations on files. One that is ``overtaken`` is an upload that nobody waits for before the next step, which
    comes to its end before the upload begins.
    """

    _positional: ClassVar[int] = 2

    at: str = "a"
    operation: Operation = Operation()
    overwrite: bool = True
    without: tuple[Key, ...] = ()
    again: tuple[Again, ...] = ()
    faults: tuple[Fault, ...] = ()
    file_faults: tuple[FileFault, ...] = ()
    overtaken: bool = False

    name: ClassVar[Literal["save"]] = "save"

    def __post_init__(self) -> None:
        _check_step(self, "reader")
        require(self.operation.coordinated, "a save of a history is by ranks that coordinate")
        require(not self.overtaken or self.operation.uploads, "only what async_save uploads is overtaken")
        require(self.overwrite or not self.all_faults, "a save that is perhaps refused has no faults")

    @property
    def all_faults(self) -> tuple[Fault | FileFault, ...]:
        """The faults of whatever kind."""
        return self.faults or self.file_faults


@dataclass(frozen=True, repr=False)
class Load(Concise):
    """A load of the checkpoint ``at``, without some of the entries; with ``partial``, of what is there of the others.

    For ``again`` see :class:`Save`.
    """

    _positional: ClassVar[int] = 2

    at: str = "a"
    operation: Operation = Operation()
    partial: bool = False
    without: tuple[Key, ...] = ()
    again: tuple[Again, ...] = ()
    faults: tuple[Fault, ...] = ()
    file_faults: tuple[FileFault, ...] = ()

    name: ClassVar[Literal["load"]] = "load"

    def __post_init__(self) -> None:
        _check_step(self, "writer", "stager", "tensors")
        require(self.operation.api in ("current", "legacy"), f"there is no {self.operation.api!r} load")

    @property
    def all_faults(self) -> tuple[Fault | FileFault, ...]:
        """As those of :class:`Save`."""
        return self.faults or self.file_faults


Step = Save | Load


def _check_step(step: Step, *not_used: Again) -> None:
    require(step.at.isidentifier(), f"no name for a checkpoint: {step.at!r}")
    require(not step.operation.members, "a step of a history is by all ranks of its world")
    require(not set(step.again).intersection(not_used), f"a {step.name} uses no {' or '.join(not_used)} again")
    of_others = [fault for fault in step.all_faults if fault.operation != step.name]
    require(not of_others, f"a {step.name} has faults of its own only")
    lost = any(fault.error == "lost" for fault in step.file_faults)
    require(not lost, "what is lost where the power fails is for a scenario: a history goes on")


@dataclass(frozen=True, repr=False)
class History(Concise):
    """The ``steps`` of one training with those ``entries``, each of which has other values at each save.

    Each checkpoint is on that ``storage``, of :mod:`worlds.storages` or of the user's own. Where its files lie open
    below its path, a history is also judged by which of them change.

    Consecutive steps in a world of the same size are one job, in the same processes; in another world it is another
    job. At each step tensors are held by all its ranks: plain, on a mesh of one dim, or by a chunk sharding, of which
    placements outside the world are left out.
    """

    _positional: ClassVar[int] = 2

    entries: tuple[TensorEntry | ObjectEntry, ...] = ()
    steps: tuple[Save | Load, ...] = ()
    writer: WriterOptions = WriterOptions()
    planner: PlannerOptions = PlannerOptions()
    storage: str = FILE_SYSTEM

    def __post_init__(self) -> None:
        require(len(self.steps) < LAST_STEP, f"a history has less than {LAST_STEP} steps")
        require(self.writer.overwrite, "each save says whether it overwrites")
        require(not self.writer.cache_staged_state_dict, "to cache what is staged takes pinned memory")
        require(not self.planner.allow_partial_load, "each load says whether it is partial")
        keys = {entry.key for entry in self.entries}
        for entry in self.entries:
            for layout in (entry.saved, entry.loaded):
                held = layout is not None and _goes_with_world(layout)
                require(held, f"{entry.key!r} is held in a way that does not go with the world, or on some ranks only")
        for index, step in enumerate(self.steps):
            require(set(step.without) <= keys, f"step {index + 1} is without what is not there: {step.without}")
            self.scenario(index)  # which checks the rest

        for index in range(len(self.steps)):
            if self.is_overtaken(index):
                self._check_overtaken(index)

    def is_overtaken(self, index: int) -> bool:
        """Whether the step at that place ends only after the next one."""
        step = self.steps[index]
        return isinstance(step, Save) and step.overtaken

    def is_staged_over(self, index: int) -> bool:
        """Whether a save is overtaken by one that stages the same tensors with its stager, into the same memory."""
        if not self.is_overtaken(index):
            return False
        following = self.steps[index + 1]
        staged = isinstance(following, Save) and following.operation.uploads
        return staged and {"stager", "tensors"} <= set(following.again)

    @property
    def order(self) -> tuple[int, ...]:
        """The places of the steps in the order in which they end."""
        places = list(range(len(self.steps)))
        for index in places[:-1]:
            if self.is_overtaken(index):
                places[index : index + 2] = [index + 1, index]
        return tuple(places)

    def _check_overtaken(self, index: int) -> None:
        """What overtakes a save is as healthy as it can be: if both hang, it is the save that does."""
        require(index + 1 < len(self.steps), f"step {index + 1} is overtaken by nothing")
        step, following = self.steps[index : index + 2]
        by, of = following.operation, step.operation
        require(not self.begins_job(index + 1), "what overtakes a save is of the same job")
        require(not self.is_overtaken(index + 1), "what overtakes a save is waited for")
        require(not following.all_faults, "what overtakes a save has no faults")
        require(following.without == step.without, "what overtakes a save is of the same entries")
        require(by.schedule == of.schedule, "what overtakes a save is by ranks in the same order")
        require(not by.uploads or by.stager == of.stager, "what overtakes a save is staged in the same way")
        shared = set(following.again).intersection(("planner", "writer"))
        require(not shared, f"what overtakes a save does not use its {' or '.join(sorted(shared))} again")

    def begins_job(self, index: int) -> bool:
        """Whether the step at that place is the first of a job."""
        return index == 0 or _job(self.steps[index]) != _job(self.steps[index - 1])

    def scenario(self, index: int) -> Scenario:
        """The step at that place by itself: a scenario whose other operation nobody runs."""
        step = self.steps[index]
        if isinstance(step, Load):
            return self._scenario(load=index)
        scenario = self._scenario(save=index)
        # Where something is, some operations on files are got over, or asked for besides.
        return replace(scenario, earlier="coordinated") if step.file_faults and self._is_over(index) else scenario

    def read_of(self, load: int, save: int) -> Scenario:
        """A load of what that save has written, both by their places in the steps."""
        return self._scenario(save=save, load=load)

    def _scenario(self, *, save: int | None = None, load: int | None = None) -> Scenario:
        saved = None if save is None else self.steps[save]
        loaded = None if load is None else self.steps[load]
        entries = (_at_step(entry, 0 if save is None else save + 1, saved, loaded) for entry in self.entries)
        own = saved if loaded is None else loaded
        return Scenario(
            tuple(entries),
            Operation() if saved is None else saved.operation,
            Operation() if loaded is None else loaded.operation,
            replace(self.writer, overwrite=saved.overwrite if isinstance(saved, Save) else True),
            replace(self.planner, allow_partial_load=isinstance(loaded, Load) and loaded.partial),
            faults=() if own is None else own.faults,
            file_faults=() if own is None else own.file_faults,
            storage=self.storage,
        )

    def _is_over(self, index: int) -> bool:
        """Whether something was saved there before."""
        ended = (self.steps[other] for other in self.order[: self.order.index(index)])
        return any(isinstance(step, Save) and step.at == self.steps[index].at for step in ended)


def _goes_with_world(layout: Layout) -> bool:
    if isinstance(layout, MeshSharding):
        return len(layout.mesh) == 1 and not layout.ranks
    return isinstance(layout, ChunkSharding) or (isinstance(layout, Plain) and not layout.ranks)


def _job(step: Step) -> tuple[int, bool]:
    return step.operation.world_size, step.operation.distributed


def _at_step(
    entry: TensorEntry | ObjectEntry, number: int, saved: Step | None, loaded: Step | None
) -> TensorEntry | ObjectEntry:
    """The entry with the values of that step, as it is held in the two operations, if it is there."""
    at_save = None if saved is None or entry.key in saved.without else _held(entry.saved, saved.operation)
    at_load = None if loaded is None or entry.key in loaded.without else _held(entry.loaded, loaded.operation)
    if isinstance(entry, TensorEntry):
        return replace(entry, saved=at_save, loaded=at_load, step=number)
    assert at_save is None or isinstance(at_save, Plain)
    assert at_load is None or isinstance(at_load, Plain)
    value = entry.value + bytes([number]) if isinstance(entry.value, bytes) else (entry.value, number)
    return replace(entry, value=value, saved=at_save, loaded=at_load)


def _held(layout: Layout | None, operation: Operation) -> Layout:
    grouped = operation.distributed and not operation.no_dist
    if isinstance(layout, MeshSharding) and grouped:
        return replace(layout, mesh=(operation.world_size,))
    if isinstance(layout, ChunkSharding) and grouped:
        ranks = tuple(rank for rank in layout.ranks if rank < operation.world_size)
        return replace(layout, ranks=ranks) if ranks else Plain()
    return Plain()


@dataclass(frozen=True)
class SaveAlone:
    """What a save comes to in processes that have done nothing before, at a path where nothing is."""

    outcome: Outcome
    contents: tuple[tuple[str, str], ...]
    """Each file of data by name, and a digest of what is in it."""


@dataclass(frozen=True)
class StepOutcome:
    """What came of a step, and what is on the disk after it."""

    operation: OperationOutcome
    metadata: MetadataRecord | None = None
    metadata_error: ErrorRecord | None = None
    files: tuple[FileRecord, ...] | None = ()
    contents: tuple[tuple[str, str], ...] = ()
    """As :class:`SaveAlone` has them, of the checkpoint of this step."""
    changed: tuple[str, ...] = ()
    """The files that are not as before the step, of any checkpoint, each below the name of its checkpoint."""
    alone: SaveAlone | None = None
    """``None`` for a load."""

    @property
    def failed_in_plan(self) -> bool:
        """Whether every rank says that it failed before anything was written, or read."""
        return all(isinstance(rank, Raised) and rank.phase == "plan" for rank in self.operation.ranks)


@dataclass(frozen=True)
class HistoryOutcome:
    """What came of each step, up to the first after which the ranks could not go on."""

    steps: tuple[StepOutcome, ...] = field(default=())
