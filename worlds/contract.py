"""The contract between DCP and a storage, as data: what is called where, when and with what, and what it is to do.

Ranks, phase and order of a hook are those of :data:`worlds.hooks.HOOKS`. Read of ``state_dict_saver.py``,
``state_dict_loader.py``, ``storage.py`` and ``_storage_utils.py`` of torch 2.13, and held against what DCP really calls
by the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .hooks import HOOKS, Hook

__all__ = ["CLAUSES", "DUTIES", "FAILURES", "LIMITS", "Clause", "clauses_of"]


@dataclass(frozen=True)
class Clause:
    """What holds of one hook of a storage."""

    operation: Literal["save", "load"]
    name: str
    signature: str
    given: str
    does: str
    raises: str = ""
    """What happens where it raises, if that is not what its phase says."""

    stager: bool = False
    """Whether only ``async_save`` calls it, and only where the writer is its stager."""

    @property
    def hook(self) -> Hook:
        """Its ranks, phase and order."""
        return _STAGE if self.stager else HOOKS[self.operation, self.name]

    @property
    def ranks(self) -> str:
        """Where it is called."""
        return "the coordinator" if self.hook.role == "coordinator" else "every rank"

    @property
    def part(self) -> tuple[int, int, int]:
        """When it is called: by phase, then on every rank before the coordinator, then by step."""
        phases = (None, "plan", "write" if self.operation == "save" else "read")
        return phases.index(self.hook.phase), int(self.hook.role == "coordinator"), self.hook.step


_STAGE = Hook("storage", "stage", None, "rank", -1)

CLAUSES = (
    Clause(
        "save",
        "writer.stage",
        "stage(state_dict)",
        "the state dict, with what each Stateful returned in its place",
        "returns a copy of it that the training does not change any more; it is called before async_save returns, and "
        "all other hooks in a thread behind it",
        stager=True,
    ),
    Clause(
        "save",
        "writer.reset",
        "reset(checkpoint_id=None)",
        "the id that the caller gave; save_state_dict gives none, and then it is that of the writer",
        "begins a new save: a writer can be used again. It is not called where save() or async_save() is given no id: "
        "then the id is that of the call before, or that of the writer",
    ),
    Clause("save", "writer.storage_meta", "storage_meta()", "nothing", "returns a StorageMeta for the planner or None"),
    Clause(
        "save",
        "writer.set_up_storage_writer",
        "set_up_storage_writer(is_coordinator, *args, **kwargs)",
        "whether this rank coordinates; and if the signature has kwargs, rank= and use_collectives=",
        "gets ready; rank= is the rank within the process group",
    ),
    Clause(
        "save",
        "writer.prepare_local_plan",
        "prepare_local_plan(plan)",
        "the plan of this rank's planner",
        "returns it, perhaps with storage_data of its own, which has to be pickled",
    ),
    Clause(
        "save",
        "writer.prepare_global_plan",
        "prepare_global_plan(plans)",
        "what prepare_local_plan returned, without what other ranks write already, in the order of the ranks",
        "returns as many plans in the same order, perhaps with storage_data: the only place to give ranks names of "
        "their own",
    ),
    Clause(
        "save",
        "writer.write_data",
        "write_data(plan, planner)",
        "this rank's plan, as prepare_global_plan returned it and the planner finished it; it may have no items",
        "asks planner.resolve_data(item) for each of plan.items once: a BytesIO where item.type is "
        "WriteItemType.BYTE_IO, else a tensor, which can be a view, have strides of any kind, be elsewhere "
        "than on the CPU, conjugated or negated. Returns a torch Future of a list with a WriteResult(item.index, "
        "size_in_bytes, storage_data) for each, whose storage_data say where it is; the future is done when the bytes "
        "are safe, and raises what failed",
    ),
    Clause(
        "save",
        "writer.finish",
        "finish(metadata, results)",
        "both by keyword: the metadata of all that was planned, and the results of every rank in their order",
        "makes metadata.storage_data a dict of where each index is, and publishes the metadata so that read_metadata "
        "has equal ones: until then the checkpoint is not there, or is what was there before",
    ),
    Clause(
        "load",
        "reader.reset",
        "reset(checkpoint_id=None)",
        "the id that the caller gave; load_state_dict gives none, and then it is that of the reader",
        "begins a new load: a reader can be used again. It is not called where load() is given no id: then the id is "
        "that of the call before, or that of the reader",
    ),
    Clause(
        "load",
        "reader.read_metadata",
        "read_metadata(*args, **kwargs)",
        "nothing; and where that raised an Exception or returned nothing, once more with rank=, if the signature has "
        "kwargs",
        "returns the metadata of the checkpoint, or raises where there is none",
        raises="that of the call with rank= counts; where both fail the rank is named with an AssertionError, which "
        "tells of both",
    ),
    Clause(
        "load",
        "reader.set_up_storage_reader",
        "set_up_storage_reader(metadata, is_coordinator, *args, **kwargs)",
        "what read_metadata returned on this rank, and whether it coordinates; if the signature has kwargs, rank= and "
        "use_collectives=, which is False where the metadata came of the call with rank=",
        "gets ready",
    ),
    Clause(
        "load",
        "reader.prepare_local_plan",
        "prepare_local_plan(plan)",
        "the plan of this rank's planner",
        "returns it, perhaps with storage_data, which has to be pickled",
    ),
    Clause(
        "load",
        "reader.prepare_global_plan",
        "prepare_global_plan(plans)",
        "what prepare_local_plan returned, in the order of the ranks",
        "returns as many plans in the same order",
    ),
    Clause(
        "load",
        "reader.read_data",
        "read_data(plan, planner)",
        "this rank's plan, as prepare_global_plan returned it; it may have no items",
        "calls planner.load_bytes(item, stream) for each item of type LoadItemType.BYTE_IO, with what was written at "
        "item.storage_index, from its beginning. For any other it takes planner.resolve_tensor(item).detach(), copies "
        "into that the item.lengths elements from item.storage_offsets on of what was written at "
        "item.storage_index, and calls planner.commit_tensor(item, that). Returns a torch Future that is done when "
        "all of it is",
    ),
)
"""The hooks of a storage in the order of their calls, each at most once in an operation but for what is said."""

FAILURES = {
    None: "nobody protects it: what it raises is raised on that rank, and the others wait for it for ever",
    "plan": "every rank raises CheckpointException('plan', failures), and nothing is written or read",
    "write": "every rank raises CheckpointException('write', failures), and finish is not called, or was what failed",
    "read": "every rank raises CheckpointException('read', failures); targets may have been changed",
}
"""What happens where a hook raises, or its future does, by its phase.

``failures`` has each rank that raised, in the process group, with its exception: every one whose hooks run on every
rank, or else the coordinator. What cannot be pickled, or unpickled, leaves the other ranks waiting.
"""

DUTIES = (
    "A hook that fails raises, on the rank where it failed, or sets the exception on its future. It keeps nothing for "
    "later, hides nothing, and lets out what the planner raises within it as it is.",
    "Any exception will do that can be pickled and unpickled.",
    "Nothing is called after a failure: there is no hook that aborts. What a save that failed has left is the "
    "storage's to ignore, and to replace.",
    "Writer and reader of a rank are objects of that rank alone. One rank can be the coordinator and every other part "
    "at once.",
    "Planners, items and their types are in torch.distributed.checkpoint.planner, and WriteResult is in "
    "torch.distributed.checkpoint.storage.",
    "No hook waits for another rank: ranks meet within DCP alone.",
    "validate_checkpoint_id is abstract and has to be there; DCP asks it of its own classes alone.",
    "An item that is written has an index; the same index is written once. Read items name it, and may ask for any box "
    "of its tensor, in any number, on any rank, in a world of another size.",
    "Bytes come back as they were: of every dtype, NaN with any payload, -0.0, 0-d and empty tensors.",
)
"""What a storage owes, beside its hooks."""

LIMITS = {
    "dtypes": "Tensors have any dtype that torch has. Where it lists some, there are no others.",
    "objects": "There are items of type BYTE_IO. Where it has none: only tensors.",
    "options": "make_writer(checkpoint_id, options) gets the options of FileSystemWriter, but extensions only where "
    "it lists them. Where it lists some, the others have their defaults; without that parameter there are none.",
    "uncoordinated": "save(use_collectives=False): every rank is told that with use_collectives=, plans alone, and has "
    "the coordinator's hooks too: its prepare_global_plan and finish get its own plan and results. What it wrote is "
    "read by read_metadata(rank=), each rank's by that rank; nothing of such a save is protected. Where "
    "it cannot: all saves have collectives.",
    "stages": "async_save stages by writer.stage. Where it does not: by torch's DefaultStager.",
    "processes": "One process reads what another has written. Where it does not: the simulated world alone.",
    "metadata": "A new reader reads what the save's metadata say, and with list_files each item is within its file. "
    "Where it keeps none: that is not judged.",
    "by_many": "Any number of ranks saves together. Where not: one rank saves, and any number loads.",
    "overwrites": "A save goes to where another was made, or begun, and takes its place. Where it cannot: each goes to "
    "a checkpoint of its own.",
}
"""What depends on a declaration, by the field of :class:`worlds.storages.Limits`: what holds without it, and with."""


def clauses_of(operation: Literal["save", "load"], *, stages: bool = False) -> tuple[Clause, ...]:
    """Those of a save or a load, in the order of their calls; with that of the stager if the writer is one."""
    return tuple(clause for clause in CLAUSES if clause.operation == operation and (stages or not clause.stager))
