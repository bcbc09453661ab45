"""Ranks that fail by themselves, where DCP does not tell the others: why, for each rank that raised on its own.

Several ranks can fail for several reasons at once, and what the others see then depends on who is asked first; so a
breach is known only if the end of every rank is explained.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from worlds.entries import Form, ObjectEntry, TensorEntry
from worlds.errors import NEVER_ARRIVES, fault_message
from worlds.layouts import ChunkSharding
from worlds.operations import Api, Stager
from worlds.outcome import Deadlocked, ErrorRecord, Raised, RankOutcome, Returned
from worlds.scenario import Scenario
from worlds.state_tree import Leaf

from ..oracle import names_fault, names_refusal
from ..verdict import Breach, Verdict
from .entry import FAILED, operation_outcome

__all__ = ["IN_ONE_MEMORY", "NOT_CONTIGUOUS", "ends_alone", "has_gaps", "overshoots", "raised_itself"]

NOT_CONTIGUOUS = "You are trying to save a non contiguous tensor"
"""What safetensors says of one."""

IN_ONE_MEMORY = "Some tensors share memory"
"""What safetensors says of two."""

_ANY_STAGER: tuple[Stager, ...] = get_args(Stager)
DEFAULT_STAGERS: tuple[Stager, ...] = _ANY_STAGER[1:]
"""Those of ``async_save`` that are a ``DefaultStager``: all but the writer."""


def ends_alone(reason: str) -> Callable[[Verdict, Breach], bool]:
    """A predicate: ranks failed by themselves, one of them at least for that reason, and each for a known one."""
    return lambda verdict, breach: reason in _reasons(verdict, breach)


def _reasons(verdict: Verdict, breach: Breach) -> set[str]:
    if breach.kind not in FAILED:
        return set()
    scenario, outcome = verdict.scenario, operation_outcome(verdict, breach)
    hits = {hit.index for hit in outcome.hits}
    reasons = set()
    for rank, seen in enumerate(outcome.ranks):
        if _is_alone(scenario, seen):
            reason = _reason(scenario, breach.operation, hits, rank, seen)
            if reason is None:
                return set()
            reasons.add(reason)
        elif not isinstance(seen, Deadlocked | Raised | Returned):
            return set()
    # Who returned had done all there is to do, before the others failed.
    returned = any(isinstance(seen, Returned) for seen in outcome.ranks)
    last = any(scenario.all_faults[index].place.last for index in hits)
    return reasons if last or not returned else set()


def _is_alone(scenario: Scenario, seen: RankOutcome) -> bool:
    """Whether a rank raised what no other rank was told of; its own exception may be a ``CheckpointException``."""
    if not isinstance(seen, Raised):
        return False
    return seen.failures is None or seen.phase in {fault_message(index) for index in range(len(scenario.all_faults))}


def _reason(scenario: Scenario, operation: str, hits: set[int], rank: int, seen: RankOutcome) -> str | None:
    assert isinstance(seen, Raised)
    for index, reason in _unprotected(scenario, operation, rank):
        if index in hits and raised_itself(scenario, index, seen):
            return reason
    if _failed_to_pickle(scenario, hits, seen.error):
        return "unpicklable-exception"
    if operation != "save":
        return None
    if not scenario.save.coordinated:
        if names_refusal(scenario, "save", rank, seen.error):
            return "uncoordinated-unprotected"
        if not scenario.writer.overwrite and seen.error.message.startswith("Checkpoint already exists and self.over"):
            return "uncoordinated-overwrite"
    return next((cause.id for cause in _CAUSES if cause.explains(scenario, seen.error)), None)


def _unprotected(scenario: Scenario, operation: str, rank: int) -> Iterator[tuple[int, str]]:
    """The rank's faults where DCP protects nothing, and why it does not."""
    for index, fault in enumerate(scenario.all_faults):
        if (fault.operation, fault.rank) != (operation, rank):
            continue
        if fault.place.phase is None:
            yield index, "stateful-unprotected" if fault.place.owner == "stateful" else "reset-unprotected"
        elif not scenario.save.coordinated and (operation == "save" or fault.place.phase == "read"):
            yield index, "uncoordinated-unprotected"


def raised_itself(scenario: Scenario, index: int, seen: Raised) -> bool:
    """Whether a rank raised the exception of its own fault, as if there were no other ranks."""
    if scenario.all_faults[index].error == "CheckpointException":
        return seen.phase == fault_message(index) and not seen.failures
    from_text = ErrorRecord("RuntimeError", "str() of the exception raised")
    if scenario.all_faults[index].error == "StrRaises" and seen.error == from_text:
        return True  # DCP's method logger asks for the text, and so raises what that raises in its stead
    return seen.failures is None and names_fault(scenario, index, seen.error)


_PICKLING_FAILED = re.compile(r"cannot pickle|__init__\(\) missing 1 required positional argument: 'operation'")


def _failed_to_pickle(scenario: Scenario, hits: set[int], error: ErrorRecord) -> bool:
    sent = any(scenario.all_faults[index].error in NEVER_ARRIVES for index in hits)
    return sent and error.type == "TypeError" and _PICKLING_FAILED.search(error.message) is not None


@dataclass(frozen=True)
class _Cause:
    """A failure of a save that nobody made: by an API and its stagers, with that text.

    What is saved has a tensor that is suspect, or an object of the form that is.
    """

    id: str
    text: str
    suspect: Callable[[TensorEntry], bool] | Form
    apis: Sequence[Api] = ("async",)
    stagers: Sequence[Stager] = _ANY_STAGER

    def explains(self, scenario: Scenario, error: ErrorRecord) -> bool:
        """Whether the error is of this cause."""
        save = scenario.save
        of_apis = (save.uploads and "async" in self.apis) or (not save.coordinated and "uncoordinated" in self.apis)
        here = of_apis and scenario.save.stager in self.stagers
        return here and self.text in error.message and any(map(self._is_suspect, scenario.leaves("save")))

    def _is_suspect(self, leaf: Leaf) -> bool:
        if isinstance(self.suspect, str):
            return isinstance(leaf.entry, ObjectEntry) and leaf.entry.form == self.suspect
        return isinstance(leaf.entry, TensorEntry) and self.suspect(leaf.entry)


def _is(kind: str) -> Callable[[TensorEntry], bool]:
    return lambda entry: entry.saved is not None and entry.saved.kind == kind


def _is_exotic(entry: TensorEntry) -> bool:
    """Whether torch can do next to nothing with the dtype but keep it."""
    return "bits" in entry.dtype or entry.dtype.startswith("float4")


def overshoots(entry: TensorEntry) -> bool:
    """Whether the last of the equal chunks that a tensor is cut into begins behind its end."""
    if not isinstance(entry.saved, ChunkSharding):
        return False
    size, chunks = entry.shape[entry.saved.dim], len(entry.saved.ranks)
    return -(-size // chunks) * (chunks - 1) > size


def has_gaps(entry: TensorEntry) -> bool:
    """Whether a tensor is not contiguous as it is saved."""
    return entry.saved is not None and entry.saved.memory in ("transposed", "strided", "expanded")


_CAUSES = (
    _Cause("staging-sharded-tensor", "torch function 'data_ptr'", _is("ShardedTensor"), stagers=DEFAULT_STAGERS),
    _Cause("staging-dtensor-view", "copy_() on an invalid python storage", _is("DTensor")),
    _Cause("staging-sparse", "Cannot access data pointer of Tensor that", "sparse", stagers=DEFAULT_STAGERS),
    _Cause("staging-checkpointable", "of a checkpointable tensor", _is("Checkpointable")),
    _Cause("staging-exotic-dtype", "store_scalar: invalid type", _is_exotic),
    _Cause("staging-exotic-dtype", "not implemented for '", _is_exotic),
    # From torch 2.15 on; an empty one is there too where a rank of no mesh has none of a DTensor.
    _Cause(
        "staging-exotic-dtype",
        "\"fill_cpu\" not implemented for 'BComplex32'",
        lambda entry: entry.dtype == "bcomplex32",
    ),
    _Cause("safetensors-not-contiguous", NOT_CONTIGUOUS, has_gaps, apis=("uncoordinated",)),
    _Cause("safetensors-tied", IN_ONE_MEMORY, lambda entry: bool(entry.tied), apis=("uncoordinated",)),
    # A copy of the tensor is made, which torch itself finds wrong.
    _Cause("chunk-behind-the-end", "and length 0 exceeds tensor dim", overshoots),
    _Cause("chunk-behind-the-end", "has out of bounds chunk", overshoots, apis=("uncoordinated",)),
    _Cause(
        "bits-dtypes",
        "torch.iinfo() requires an integer input type",
        lambda entry: "bits" in entry.dtype,
        apis=("uncoordinated",),
    ),
)
