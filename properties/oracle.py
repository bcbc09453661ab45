"""What must come of a scenario: which ranks fail in which phase, or that everything round-trips.

An independent model of DCP's protocol, as ``state_dict_saver``, ``state_dict_loader`` and ``utils`` of
``torch.distributed.checkpoint`` have it in torch 2.13. Nothing of that package is imported here: code that asks the
tested code what is right cannot find it wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from worlds.errors import NEVER_ARRIVES, NOT_AN_EXCEPTION, RAISES_NOTHING, fault_message, make_error
from worlds.file_faults import FileFault
from worlds.hooks import Hook
from worlds.outcome import ErrorRecord
from worlds.record import record_error
from worlds.scenario import Scenario

from .file_reach import reached_files
from .reach import REFUSAL, Reach, reached, refusals, shards_on_meta, write_holders

__all__ = ["Expectation", "OperationExpectation", "Stage", "expected", "mentions_fault", "names_fault", "names_refusal"]


@dataclass(frozen=True)
class Stage:
    """A part of an operation that ends with every rank hearing of every failure in it.

    ``certain`` maps each rank that fails here for sure to the faults (numbers in ``Scenario.all_faults``, and
    :data:`properties.reach.REFUSAL` where it refuses what it is given) of which it reports one; ``possible`` does so
    for ranks that fail only if DCP gives them an item to write or read, which the protocol leaves open (one of the
    ranks with a replicated entry writes it), or comes to that call of an operation on files. ``phase`` is ``None``
    where DCP protects nothing and the law asks for no particular one.
    """

    phase: Literal["plan", "write", "read"] | None
    role: Literal["rank", "coordinator"]
    certain: dict[int, tuple[int, ...]]
    possible: dict[int, tuple[int, ...]]
    one_of: tuple[frozenset[int], ...] = ()
    """Sets of ranks of which at least one fails."""


@dataclass(frozen=True)
class OperationExpectation:
    """The stages of one operation in which a rank fails or may fail, in their order; the first that does ends it.

    With no stage the operation must succeed.
    """

    stages: tuple[Stage, ...]

    @property
    def must_fail(self) -> bool:
        """Whether the operation fails, whatever DCP decides where it may."""
        return any(stage.certain or stage.one_of for stage in self.stages)


@dataclass(frozen=True)
class Expectation:
    """What must come of a scenario; ``load`` holds if the save succeeds, and is ``None`` if it must fail."""

    save: OperationExpectation
    load: OperationExpectation | None


def expected(scenario: Scenario) -> Expectation:
    """What must come of ``scenario``."""
    save = _expect(scenario, "save")
    return Expectation(save, None if save.must_fail else _expect(scenario, "load"))


def names_refusal(scenario: Scenario, name: Literal["save", "load"], rank: int, record: ErrorRecord) -> bool:
    """Whether the exception says one of the things that the rank must refuse."""
    refused = refusals(scenario, name).get(rank, ())
    if name == "load" and shards_on_meta(scenario, rank) and _ON_META in record.message:
        return True  # it says of what class, and not under which name
    return not _is_injected(scenario, record) and any(_has_word(record.message, fqn) for fqn in refused)


def _has_word(message: str, name: str) -> bool:
    """Whether the name is there by itself: of one letter, it is in every other word."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message) is not None


def names_fault(scenario: Scenario, index: int, record: ErrorRecord) -> bool:
    """Whether the exception that a rank is blamed for is the one that the fault of that number raises."""
    if scenario.file_faults:
        return _names_file_fault(scenario.file_faults[index], index, record)
    if scenario.request_faults:
        return True  # what a client makes of it, and its storage of that, is theirs
    fault = scenario.faults[index]
    if fault.hook == "reader.read_metadata" and fault.error not in NOT_AN_EXCEPTION:
        # The rank tries its own metadata next; when that fails as well, it reports that there is none, and why.
        return fault.error == "StrRaises" or (record.type == "AssertionError" and _mentions(record.message, index))
    if fault.error in NEVER_ARRIVES:
        return True  # no other rank can hold this exception, so that what stands for it is DCP's choice
    if record == record_error(make_error(fault.error, fault_message(index))):
        return True
    if fault.error == "StopIteration" and fault.hook == "planner.resolve_data":
        # PEP 479: raised inside a generator, as the writer's loaders are, it cannot leave it.
        return record == ErrorRecord("RuntimeError", "generator raised StopIteration")
    return False


def _names_file_fault(fault: FileFault, index: int, record: ErrorRecord) -> bool:
    if fault.error in RAISES_NOTHING:
        return False
    if (fault.operation, fault.call) == ("save", "data.write") and record.type == "RuntimeError":
        # torch's zip writer says where it stands ("unexpected pos 128 vs 22"), and not what it was told.
        return _ZIP_WRITER in record.message
    if record.type == "AssertionError":
        return fault.place.phase == "plan" and _mentions(record.message, index)  # as of reader.read_metadata
    return record == record_error(make_error(fault.error, fault_message(index)))


def mentions_fault(record: ErrorRecord) -> bool:
    """Whether an exception says of itself that it was injected."""
    return fault_message(0).removesuffix("0") in record.message


def _is_injected(scenario: Scenario, record: ErrorRecord) -> bool:
    """Whether an exception is a fault's, also where its message is none of ours: it may have a name in it by chance."""
    made = (record_error(make_error(fault.error, fault_message(i))) for i, fault in enumerate(scenario.faults))
    return mentions_fault(record) or record in made


def _mentions(message: str, index: int) -> bool:
    return re.search(rf"{re.escape(fault_message(index))}(?!\d)", message) is not None


_ON_META = "ShardedTensor'> for meta device loading"
_ZIP_WRITER = "enforce fail at inline_container.cc"
_REFUSING = {
    "save": Hook("planner", "set_up_planner", "plan", "rank", 2),
    "load": Hook("planner", "create_local_plan", "plan", "rank", 4),
}


def _expect(scenario: Scenario, name: Literal["save", "load"]) -> OperationExpectation:
    data: Literal["write", "read"] = "write" if name == "save" else "read"
    parts: tuple[_Place, ...] = (
        (None, "rank", False),
        ("plan", "rank", False),
        ("plan", "coordinator", False),
        (data, "rank", False),
        (data, "coordinator", False),
        (None, "rank", True),
    )
    found = [*reached(scenario, name), *reached_files(scenario, name)]
    stages = (_stage(scenario, name, place, found) for place in parts)
    return OperationExpectation(tuple(stage for stage in stages if stage.certain or stage.possible))


_Place = tuple[Literal["plan", "write", "read"] | None, Literal["rank", "coordinator"], bool]


def _stage(scenario: Scenario, name: Literal["save", "load"], place: _Place, found: Sequence[Reach]) -> Stage:
    by_rank: dict[int, list[Reach]] = {}
    for reach in sorted(found, key=lambda reach: (reach.step, reach.index)):
        hook = _REFUSING[name] if reach.index == REFUSAL else scenario.all_faults[reach.index].place
        if (hook.phase, hook.role, hook.last) == place:
            by_rank.setdefault(reach.rank, []).append(reach)
    certain = {rank: _reported(faults) for rank, faults in by_rank.items() if any(f.certain for f in faults)}
    possible = {rank: _reported(faults) for rank, faults in by_rank.items() if rank not in certain}
    # Whoever writes an item comes to all hooks of that, and not to every call of an operation on files.
    one_of = _surely_written_by(scenario, possible.keys()) if place[0] == "write" and not scenario.file_faults else ()
    phase, role, _ = place
    return Stage(phase, role, certain, possible, tuple(one_of) if role == "rank" else ())


def _reported(faults: Sequence[Reach]) -> tuple[int, ...]:
    """Of a rank's faults, in the order in which it meets them, those of which it reports one: up to a sure one."""
    last = next((fault.step for fault in faults if fault.certain), math.inf)
    return tuple(fault.index for fault in faults if fault.step <= last)


def _surely_written_by(scenario: Scenario, possible: Set[int]) -> Iterator[frozenset[int]]:
    """Where all ranks that could write an item fail if they do, one of them does."""
    for part, holders in write_holders(scenario):
        has_content = part is None or bool(math.prod(part.sizes))
        if has_content and holders <= possible:
            yield holders
