"""What must come of a scenario: which ranks fail in which phase, or that everything round-trips.

An independent model of DCP's protocol, as ``state_dict_saver``, ``state_dict_loader`` and ``utils`` of
``torch.distributed.checkpoint`` have it in torch 2.13. Nothing of that package is imported here: code that asks the
tested code what is right cannot find it wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from worlds.errors import NEVER_ARRIVES, NOT_AN_EXCEPTION, fault_message, make_error
from worlds.hooks import HOOKS
from worlds.outcome import ErrorRecord
from worlds.record import record_error
from worlds.scenario import ObjectEntry, Scenario, TensorEntry

__all__ = ["Expectation", "OperationExpectation", "Stage", "expected", "mentions_fault", "names_fault"]


@dataclass(frozen=True)
class Stage:
    """A part of an operation that ends with every rank hearing of every failure in it.

    ``certain`` maps each rank that fails here for sure to the faults (places in ``Scenario.faults``) of which it
    reports one; ``possible`` does so for ranks that fail only if DCP gives them an item to write or read, which the
    protocol leaves open (one of the ranks with a replicated entry writes it). ``phase`` is ``None`` where DCP protects
    nothing and the law asks for no particular one.
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


def names_fault(scenario: Scenario, index: int, record: ErrorRecord) -> bool:
    """Whether the exception that a rank is blamed for is the one that the fault at that place raises."""
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


def mentions_fault(record: ErrorRecord) -> bool:
    """Whether an exception says of itself that it was injected."""
    return fault_message(0).removesuffix("0") in record.message


def _mentions(message: str, index: int) -> bool:
    return re.search(rf"{re.escape(fault_message(index))}(?!\d)", message) is not None


@dataclass(frozen=True)
class _Reach:
    """A fault in a stage: when it strikes in the course of its rank, and whether the rank surely gets there."""

    index: int
    rank: int
    step: int
    certain: bool


def _expect(scenario: Scenario, name: Literal["save", "load"]) -> OperationExpectation:
    operation = scenario.operation(name)
    reached = []
    for index, fault in enumerate(scenario.faults):
        if fault.operation != name or (fault.place.role == "coordinator" and fault.rank != operation.coordinator):
            continue
        reach = _reach(scenario, index)
        if reach is not None:
            reached.append(reach)
    data = "write" if name == "save" else "read"
    parts = [(None, "rank"), ("plan", "rank"), ("plan", "coordinator"), (data, "rank"), (data, "coordinator")]
    stages = (_stage(scenario, name, phase, role, reached) for phase, role in parts)
    return OperationExpectation(tuple(stage for stage in stages if stage.certain or stage.possible))


def _reach(scenario: Scenario, index: int) -> _Reach | None:
    fault = scenario.faults[index]
    hook = fault.place
    # A future fails only after all that its hook does, which includes the items.
    step = 10 * hook.step if fault.through == "call" else 100 + hook.step
    if not hook.per_item:
        return _Reach(index, fault.rank, step, certain=True)
    chances = [_handles(entry, fault.hook, fault.rank) for entry in scenario.entries]
    if not any(chance != "never" for chance in chances):
        return None
    return _Reach(index, fault.rank, step, certain="surely" in chances)


_Chance = Literal["never", "maybe", "surely"]
_OF_OBJECTS: dict[str, _Chance] = {"planner.load_bytes": "surely", "planner.resolve_data": "maybe"}


def _handles(entry: TensorEntry | ObjectEntry, hook: str, rank: int) -> _Chance:
    """Whether the hook that is called for each item is called on that rank for this entry."""
    if isinstance(entry, ObjectEntry):
        # Every rank loads each object, and one of those that have it (all of them) saves it.
        return _OF_OBJECTS.get(hook, "never")
    if hook == "planner.load_bytes":
        return "never"
    saves = hook == "planner.resolve_data"
    sharding = entry.saved if saves else entry.loaded
    if sharding is None:
        return "surely" if not saves and _elements(entry.shape) else "maybe"
    mine = [sizes for owner, _, sizes in sharding.chunks(entry.shape) if owner == rank]
    if any(_elements(sizes) for sizes in mine):
        return "surely"
    # A chunk without elements is nothing that has to be written or read.
    return "maybe" if mine else "never"


def _stage(scenario: Scenario, name: str, phase: str | None, role: str, reached: Sequence[_Reach]) -> Stage:
    by_rank: dict[int, list[_Reach]] = {}
    for reach in sorted(reached, key=lambda reach: (reach.step, reach.index)):
        hook = HOOKS[name, scenario.faults[reach.index].hook]
        if (hook.phase, hook.role) == (phase, role):
            by_rank.setdefault(reach.rank, []).append(reach)
    certain = {rank: _reported(faults) for rank, faults in by_rank.items() if any(f.certain for f in faults)}
    possible = {rank: _reported(faults) for rank, faults in by_rank.items() if rank not in certain}
    one_of = tuple(_surely_written_by(scenario, name, frozenset(certain), frozenset(possible)))
    return Stage(phase, role, certain, possible, one_of)  # type: ignore[arg-type]


def _reported(faults: Sequence[_Reach]) -> tuple[int, ...]:
    """Of a rank's faults, in the order in which it meets them, those of which it reports one: up to a sure one."""
    last = next((fault.step for fault in faults if fault.certain), math.inf)
    return tuple(fault.index for fault in faults if fault.step <= last)


def _surely_written_by(
    scenario: Scenario, name: str, certain: frozenset[int], possible: frozenset[int]
) -> Iterable[frozenset[int]]:
    """If no rank could write a replicated entry without failing, one of those that may fail does."""
    everyone = frozenset(range(scenario.operation("save").world_size))
    nobody_else = name == "save" and bool(possible) and not certain and possible == everyone
    if nobody_else and any(_is_written(entry) for entry in scenario.entries):
        yield possible


def _is_written(entry: TensorEntry | ObjectEntry) -> bool:
    return isinstance(entry, ObjectEntry) or _elements(entry.shape) > 0


def _elements(shape: Sequence[int]) -> int:
    return math.prod(shape)
