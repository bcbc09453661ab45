"""The scenario: everything that one example does, as plain frozen data.

A scenario holds no tensor, process group or storage. Any world can run it, ``eval(repr(s)) == s`` holds with the names
of :mod:`worlds`, and :meth:`Scenario.to_json` / :meth:`Scenario.from_json` convert it to JSON and back.

Whatever can be constructed is an input that DCP must either take or refuse in its plan; so that any other failure is
never the scenario's fault, each class checks itself and raises :class:`InvalidScenario` with one line that says what is
wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import ClassVar, Literal

from .concise import Concise
from .damage import Damage
from .entries import Entry, Nested, TensorEntry
from .faults import Fault
from .file_faults import FileFault
from .invalid import require
from .layouts import Plain
from .operations import Operation, PlannerOptions, WriterOptions
from .planners import DEFAULT, planned
from .request_faults import RequestFault
from .state_tree import Leaf, Unit, children, leaves, units
from .storages import FILE_SYSTEM, SHIPPED, find_storage, limits_of

__all__ = ["Scenario"]

Name = Literal["save", "load"]


@dataclass(frozen=True, repr=False)
class Scenario(Concise):
    """A save in one world, then a load of it in another, with faults.

    ``container`` is what holds the entries: a plain ``"dict"``, or the state dict of a ``"module"`` with the tensors as
    its parameters, buffers and attributes. ``faults`` are at hooks, ``file_faults`` at operations on files, and
    ``request_faults`` at requests to a server; a scenario has one kind. ``damages`` are done to the checkpoint between
    the save and the load. ``earlier`` says what was saved at the same path before, with older values: the same entries,
    with or without collectives. ``storage`` is the name of what keeps it, see :mod:`worlds.storages`,
    and ``planners`` that of what plans, see :mod:`worlds.planners`.
    """

    _positional: ClassVar[int] = 0

    entries: tuple[Entry, ...] = ()
    save: Operation = Operation()
    load: Operation = Operation()
    writer: WriterOptions = WriterOptions()
    planner: PlannerOptions = PlannerOptions()
    container: Literal["dict", "module"] = "dict"
    faults: tuple[Fault, ...] = ()
    damages: tuple[Damage, ...] = ()
    file_faults: tuple[FileFault, ...] = ()
    earlier: Literal["nothing", "coordinated", "uncoordinated"] = "nothing"
    storage: str = FILE_SYSTEM
    request_faults: tuple[RequestFault, ...] = ()
    planners: str = DEFAULT

    def __post_init__(self) -> None:
        for name in ("save", "load"):
            _check_keys(self.entries, name)
            self._check_layouts(name)
            self._check_stateful(name)
        require(self.load.api in ("current", "legacy"), f"there is no {self.load.api!r} load")
        self._check_container()
        self._check_uncoordinated()
        self._check_faults()
        self._check_damages()
        self._check_storage()
        self._check_planners()
        self._check_by_path("save", "writer")
        self._check_by_path("load", "reader")
        require(self.earlier in ("nothing", "coordinated", "uncoordinated"), f"unknown earlier save: {self.earlier!r}")
        over = self.earlier != "nothing"
        require(self.writer.overwrite or not over, "to save over an earlier checkpoint takes a writer that overwrites")
        staged = self.save.uploads and self.save.stager == "writer"
        require(not (staged and self.writer.cache_staged_state_dict), "to cache what is staged takes pinned memory")

    def operation(self, name: Name) -> Operation:
        """The operation of that name."""
        return self.save if name == "save" else self.load

    @property
    def all_faults(self) -> tuple[Fault | FileFault | RequestFault, ...]:
        """The faults of whatever kind, by their numbers."""
        return self.faults or self.file_faults or self.request_faults

    def leaves(self, name: Name) -> tuple[Leaf, ...]:
        """Every tensor and object in the state dict of that operation, on whatever rank."""
        return self._leaves[name]

    @cached_property
    def _leaves(self) -> dict[Name, tuple[Leaf, ...]]:
        # Kept, since each rank asks for them.
        return {"save": leaves(self.entries, "save"), "load": leaves(self.entries, "load")}

    @cached_property
    def _units(self) -> dict[Name, tuple[Unit, ...]]:
        options = self.planner
        flatten, sharded = options.flatten_state_dict, options.flatten_sharded_tensors
        return {
            "save": units(self.entries, "save", flatten=flatten, flatten_sharded=sharded),
            "load": units(self.entries, "load", flatten=flatten, flatten_sharded=sharded),
        }

    def units(self, name: Name) -> tuple[Unit, ...]:
        """What is saved or loaded in that operation, each under its own name."""
        return self._units[name]

    def to_json(self) -> str:
        """This scenario as JSON text, which :meth:`from_json` reads."""
        from .codec import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str) -> Scenario:
        """The scenario that :meth:`to_json` wrote; raises :class:`InvalidScenario` with one line if it is none."""
        from .codec import from_json

        return from_json(text, Scenario)

    def _check_layouts(self, name: Name) -> None:
        operation = self.operation(name)
        for leaf in self.leaves(name):
            layout = leaf.entry.layout(name)
            assert layout is not None
            key = leaf.entry.key
            if not isinstance(layout, Plain):
                require(operation.distributed and not operation.no_dist, f"{key!r} is sharded, which takes a group")
            require(layout.highest_rank() < operation.world_size, f"{key!r} has a placement outside the world")
        for unit in self.units(name):
            if unit.container is not None:
                for leaf in unit.leaves:
                    layout = leaf.entry.layout(name)
                    plain = isinstance(layout, Plain) and not layout.ranks
                    require(plain, f"{leaf.entry.key!r} is in a container that is one object, and so on every rank")
                    is_meta = layout is not None and layout.memory == "meta"
                    require(not is_meta, f"{leaf.entry.key!r} is in a container that is one object, and has memory")
                    on_cpu = layout is not None and layout.device == "cpu"
                    require(on_cpu, f"{leaf.entry.key!r} is in a container that is one object, and so on the CPU")

    def _check_stateful(self, name: Name) -> None:
        stateful = any(isinstance(entry, Nested) and entry.container == "stateful" for entry in self.entries)
        require(not stateful or self.operation(name).api != "legacy", "the legacy API knows no Stateful objects")

    def _check_container(self) -> None:
        require(self.container in ("dict", "module"), f"unknown container: {self.container!r}")
        if self.container == "module":
            for entry in self.entries:
                require(isinstance(entry, TensorEntry), f"a module holds tensors only, not {entry.key!r}")
                name = isinstance(entry.key, str) and entry.key.isidentifier()
                require(name, f"{entry.key!r} is no name for an attribute of a module")
                assert isinstance(entry, TensorEntry)
                kinds = {layout.kind for layout in (entry.saved, entry.loaded) if layout is not None}
                # What is in a module's state dict is another tensor, without the attributes.
                kept = "CheckpointableTensor" not in kinds
                require(kept, f"{entry.key!r} is a CheckpointableTensor, which a module does not keep")
                is_meta = entry.loaded is not None and entry.loaded.memory == "meta"
                require(not is_meta, f"{entry.key!r} is of a module, to whose state dict alone a load gives memory")

    def _check_uncoordinated(self) -> None:
        """A rank finds only what it saved itself, so that what it loads must be that."""
        if self.save.coordinated:
            return
        require(self.save.world_size == self.load.world_size, "an uncoordinated checkpoint is loaded by as many ranks")
        require(self.load.coordinator == 0, "an uncoordinated checkpoint has no coordinator")
        for leaf in self.leaves("load"):
            entry = leaf.entry
            same = entry.layout("save") in (None, entry.layout("load"))
            require(same, f"{entry.key!r} is resharded, which takes collectives")

    def _check_faults(self) -> None:
        places = [(fault.operation, fault.rank, fault.hook, fault.through) for fault in self.faults]
        require(len(set(places)) == len(places), "two faults are in one place")
        calls = [(fault.operation, fault.rank, fault.call, fault.skip) for fault in self.file_faults]
        require(len(set(calls)) == len(calls), "two operations on files that fail are one")
        require(not (self.faults and self.file_faults), "faults are at hooks or at operations on files, not at both")
        requests = [(fault.operation, fault.rank, fault.skip) for fault in self.request_faults]
        require(len(set(requests)) == len(requests), "two requests that fail are one")
        if self.request_faults:
            require(not (self.faults or self.file_faults), "requests fail, or what is above them, and not both")
            require(self.save.coordinated, "of a save whose requests fail, ranks tell each other")
        for fault in self.all_faults:
            inside = 0 <= fault.rank < self.operation(fault.operation).world_size
            require(inside, f"the {fault.operation} has no rank {fault.rank} to fail")

    def _check_damages(self) -> None:
        if self.damages:
            require(not self.all_faults, "a checkpoint that is damaged is saved and loaded without faults")
            require(self.save.coordinated, "a checkpoint that is damaged has metadata of the whole")
            require(not self.writer.extensions, "a checkpoint that is damaged is as torch.save has it")
            name = self.storage
            lies_open = name in SHIPPED and find_storage(name).suffix is not None
            require(lies_open, f"{name} has no files below its path that could be damaged")
            of_metadata = any(damage.metadata for damage in self.damages)
            require(limits_of(name).metadata or not of_metadata, f"{name} keeps no metadata that could be damaged")

    def _check_storage(self) -> None:
        """What a storage does not support; see :func:`worlds.fitting.fitted`."""
        limits, name = limits_of(self.storage), self.storage
        if self.file_faults:
            files = find_storage(name).files
            require(files is not None, f"{name} does not ask for its files as DCP or fsspec does")
            for fault in self.file_faults:
                able = fault.is_of_system if files == "system" else fault.is_of_fsspec
                whose = "DCP" if files == "system" else "fsspec"
                require(able, f"{name} has its files from {whose}, where no {fault.call} fails with {fault.error}")
        served = not self.request_faults or find_storage(name).endpoint is not None
        require(served, f"{name} tells of no server whose requests could fail")
        of_dcp = name in SHIPPED and find_storage(name).files is not None
        require(self.earlier == "nothing" or of_dcp, "an earlier save is one to DCP's own files, or to those of fsspec")
        require(limits.uncoordinated or self.save.coordinated, f"{name} takes ranks that coordinate")
        require(limits.by_many or self.save.world_size == 1, f"{name} is saved by one rank")
        staged = self.save.uploads and self.save.stager == "writer"
        require(limits.stages or not staged, f"the writer of {name} is no stager")
        for option in fields(self.writer):
            is_default = getattr(self.writer, option.name) == option.default
            require(is_default or limits.takes(option.name), f"{name} has no option {option.name}")
        numbered = {fqn for fqn, _ in self.writer.file_indices}
        left = [unit.fqn for unit in self.units("save") if numbered and unit.fqn not in numbered]
        require(not left, f"no file is said to be for {left}")
        for leaf in (leaf for operation in ("save", "load") for leaf in self.leaves(operation)):
            fits = limits.dtypes is None or not isinstance(leaf.entry, TensorEntry) or leaf.entry.dtype in limits.dtypes
            require(fits, f"{name} cannot hold {leaf.entry.key!r}")
        for unit in (unit for operation in ("save", "load") for unit in self.units(operation)):
            require(limits.objects or unit.tensor is not None, f"{name} cannot hold {unit.fqn!r}, which is no tensor")

    def _check_by_path(self, name: Name, kind: str) -> None:
        """A storage that DCP finds by itself has default options, and is not made to fail."""
        pathlike = self.operation(name).pathlike
        require(self.storage == FILE_SYSTEM or not pathlike, f"{self.storage} has names of its own, which are text")
        if not self.operation(name).by_path:
            return
        found = name in find_storage(self.storage).found
        require(found, f"by its path alone, DCP finds no {kind} that is of {self.storage}")
        at_default = replace(self.writer, sync_files=False) == WriterOptions()
        require(name == "load" or at_default, "a writer that DCP finds by the path has the default options")
        readable = name == "save" or self.writer.known_to_torch
        require(readable, "a reader that DCP finds by the path knows of torch's extensions alone")
        failing = any(fault.operation == name and fault.hook.startswith(f"{kind}.") for fault in self.faults)
        below = any(fault.operation == name for fault in self.file_faults)
        require(not (failing or below), f"a {kind} that DCP finds by the path is not one that fails")
        require(self.earlier == "nothing" or name == "load", "an earlier save is by a writer of its own")

    def _check_planners(self) -> None:
        fits = planned(self.planner, self.planners) == self.planner
        require(fits, f"{self.planners} does not take all of {self.planner}")


def _check_keys(entries: tuple[Entry, ...], name: Name) -> None:
    there = [entry.key for _, entry in children(entries, name)]
    require(
        len({(type(key), key) for key in there}) == len(there), f"two entries have one name: {sorted(map(str, there))}"
    )
    for entry in entries:
        if isinstance(entry, Nested):
            if not entry.is_sequence:
                _check_keys(entry.entries, name)
            else:
                _check_sequence(entry, name)


def _check_sequence(nested: Nested, name: Name) -> None:
    for inner in nested.entries:
        layout = None if isinstance(inner, Nested) else inner.layout(name)
        everywhere = not isinstance(layout, Plain) or not layout.ranks
        require(everywhere, f"{inner.key!r} is in a sequence, and so on every rank")
        if isinstance(inner, Nested):
            _check_keys((inner,), name)
