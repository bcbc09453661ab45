"""What a script has to do, worked out of a verdict before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from properties.ledger import LedgerEntry
from properties.oracle import OperationExpectation, Stage, expected
from properties.verdict import Verdict
from properties.violations import (
    ChangedInput,
    ChangedOutside,
    Deadlock,
    Disagreement,
    LostFailure,
    NotInPlace,
    NotLoaded,
    PassedFailure,
    UnexpectedFailure,
    UnprotectedFailure,
    UnseenDamage,
    Violation,
    WrongBits,
    WrongException,
    WrongObject,
    WrongPhase,
    WrongRanks,
)
from worlds.entries import Key, Nested, Path, TensorEntry
from worlds.faults import Fault
from worlds.operations import Operation
from worlds.outcome import OperationOutcome, Outcome
from worlds.routes import Way
from worlds.scenario import Scenario
from worlds.state_tree import Leaf, children

from .known import CannotWrite
from .text import Code
from .use import Use

__all__ = ["EarlierSave", "Name", "Plan"]

Name = Literal["save", "load"]

_BLAME = (
    Deadlock,
    Disagreement,
    LostFailure,
    PassedFailure,
    UnexpectedFailure,
    UnprotectedFailure,
    WrongException,
    WrongPhase,
    WrongRanks,
)
_CONTENT = (ChangedInput, ChangedOutside, NotInPlace, NotLoaded, UnseenDamage, WrongBits, WrongObject)


@dataclass(frozen=True)
class Plan:
    """A verdict, and what follows from it for the script.

    ``issue`` is the ledger's entry for it, where there is one; ``before`` are saves that come first, in the same
    processes.
    """

    verdict: Verdict
    issue: LedgerEntry | None = None
    before: tuple[Scenario, ...] = ()

    @property
    def scenario(self) -> Scenario:
        return self.verdict.scenario

    @property
    def kind(self) -> type[Violation] | None:
        """The kind of what broke, if anything did."""
        return None if self.verdict.breach is None else self.verdict.breach.kind

    @property
    def last(self) -> Name:
        """The operation that the script ends with: the one in which something broke, or else the last that ran."""
        if self.verdict.breach is not None:
            return "load" if self.verdict.breach.operation == "load" else "save"
        return "save" if self.verdict.outcome.load is None else "load"

    @property
    def names(self) -> tuple[Name, ...]:
        """The operations that the script has, in their order."""
        return ("save",) if self.last == "save" else ("save", "load")

    def leaves(self, name: Name) -> tuple[Leaf, ...]:
        """Every tensor and object in the state dict of the operation."""
        return self.scenario.leaves(name)

    def tensors(self, name: Name) -> list[TensorEntry]:
        """The tensors among them."""
        return [leaf.entry for leaf in self.leaves(name) if isinstance(leaf.entry, TensorEntry)]

    def has_containers(self, name: Name) -> bool:
        """Whether there is anything but tensors and objects in the state dict."""
        return any(isinstance(entry, Nested) for _, entry in children(self.scenario.entries, name))

    def has_stateful(self, name: Name) -> bool:
        """Whether a ``Stateful`` object is in the state dict."""
        return any(self.is_stateful(path) for path, _ in children(self.scenario.entries, name))

    def is_stateful(self, path: Path) -> bool:
        """Whether a ``Stateful`` object is there, in the state dict of the last operation."""
        entries = (entry for entry in self.scenario.entries if isinstance(entry, Nested) and path == (entry.key,))
        return any(entry.container == "stateful" for entry in entries)

    @property
    def replaced(self) -> Path | None:
        """Where the container is, in the state dict, that is not the one that it should be, if that is what broke."""
        breach = self.verdict.breach
        if breach is None or not breach.path or breach.path in {leaf.path for leaf in self.leaves(self.last)}:
            return None
        units = {unit.path for unit in self.scenario.units(self.last)}  # a tuple, or a list of objects, is one
        return None if breach.path in units and self.kind is not NotInPlace else breach.path

    @property
    def is_metadata_alone(self) -> bool:
        """Whether nothing was saved, and it is the metadata that each rank makes of its state dict that is wrong."""
        outcome = self.verdict.outcome
        return outcome.save.returned and outcome.load is None

    @property
    def path(self) -> str:
        """The expression for the directory of the checkpoint."""
        return "path"

    @property
    def by(self) -> Way | None:
        """The way in which the state goes, where that is not by a storage."""
        return None

    @property
    def written(self) -> list[str] | None:
        """The statements that write the checkpoint, where it is no save that does."""
        return None

    @property
    def helpers(self) -> list[str]:
        """Definitions that these take, beside those that are there for any state dict."""
        return []

    @property
    def contents(self) -> list[str] | None:
        """The statements that make ``saved``, where the bits of what is loaded are not the scenario's."""
        return None

    @property
    def reads_with(self) -> Code | None:
        """The reader of the load, where it is not that of the storage."""
        return None

    @property
    def fill(self) -> str | None:
        """The expression for what every element and object is in the save, where it is one for all of them."""
        return None

    @property
    def given(self) -> frozenset[str]:
        """Those of ``writer`` and ``planner`` whose class is in a variable of that name."""
        return frozenset()

    @property
    def uses(self) -> Mapping[str, Use]:
        """By ``writer``, ``reader``, ``planner`` and ``stager``: what of them is in a variable, to be used again."""
        return MappingProxyType({})

    @property
    def failing_kinds(self) -> frozenset[str]:
        """Those of them whose class is one that fails, though it may be in another step."""
        return frozenset()

    @property
    def held(self) -> frozenset[Key]:
        """The entries whose tensors are those of the state dict before, with other values."""
        return frozenset()

    @property
    def step(self) -> int | None:
        """Its number, where it is one of several steps."""
        return None

    @property
    def is_overtaken(self) -> bool:
        """Whether it is an upload that is waited for when another step has ended."""
        return False

    @property
    def ranks(self) -> int:
        """How many ranks the script needs."""
        return max(self.scenario.operation(name).whole_world for name in self.names)

    @property
    def has_group(self) -> bool:
        """Whether the script needs a process group."""
        return any(self.scenario.operation(name).distributed for name in self.names)

    def members(self, name: Name) -> tuple[int, ...]:
        """The ranks of the job that take part in the operation, in order."""
        operation = self.scenario.operation(name)
        return tuple(map(operation.global_rank, range(operation.world_size)))

    def in_all_ranks(self, name: Name) -> bool:
        """Whether every rank of the job takes part in the operation."""
        return self.scenario.operation(name).world_size == self.ranks

    def has_subgroup(self, name: Name) -> bool:
        """Whether the operation runs in a group of its own."""
        operation = self.scenario.operation(name)
        return operation.distributed and not operation.no_dist and not self.in_all_ranks(name)

    def renumbers(self, name: Name) -> bool:
        """Whether ranks have other numbers within the group of the operation than in the job."""
        return self.members(name) != tuple(range(self.scenario.operation(name).world_size))

    @property
    def leaves_group(self) -> bool:
        """Whether the script destroys its process group before it ends."""
        return False

    @property
    def holds_group(self) -> bool:
        """Whether there are ``ShardedTensor``s, each of which holds its process group."""
        tensors = (
            each.layout(name) for plan in (self, *self.earlier) for name in plan.names for each in plan.tensors(name)
        )
        return any(layout is not None and layout.kind == "ShardedTensor" for layout in tensors)

    @property
    def operation(self) -> Operation:
        """The last operation."""
        return self.scenario.operation(self.last)

    @property
    def outcome(self) -> OperationOutcome:
        """What every rank saw of the last operation."""
        outcome = self.verdict.outcome.save if self.last == "save" else self.verdict.outcome.load
        assert outcome is not None
        return outcome

    @cached_property
    def _expectation(self) -> OperationExpectation:
        expectation = self.verdict.expectation.save if self.last == "save" else self.verdict.expectation.load
        assert expectation is not None
        return expectation

    @cached_property
    def _reached(self) -> set[int]:
        return {hit.index for hit in self.outcome.hits}

    @cached_property
    def stage(self) -> Stage | None:
        """The stage in which the last operation must fail, given which faults were reached; none if it must succeed."""
        for stage in self._expectation.stages:
            possible = [index for faults in stage.possible.values() for index in faults]
            if stage.certain or stage.one_of or self._reached.intersection(possible):
                return stage
        return None

    @property
    def failing(self) -> dict[int, tuple[int, ...]]:
        """The ranks that must be named: to the numbers of the faults, of which each reports one."""
        if self.stage is None:
            return {}
        possible = {rank: faults for rank, faults in self.stage.possible.items() if self._reached.intersection(faults)}
        return dict(sorted({**self.stage.certain, **possible}.items()))

    def faults(self, name: Name) -> list[Fault]:
        """The faults of an operation that the script needs: those that were reached, or must be."""
        outcome = self.verdict.outcome.save if name == "save" else self.verdict.outcome.load
        needed = {hit.index for hit in outcome.hits} if outcome is not None else set()
        if name == self.last and self.stage is not None:
            for faults in (*self.stage.certain.values(), *self.stage.possible.values()):
                needed.update(faults)
        all_faults = enumerate(self.scenario.faults)
        return [fault for index, fault in all_faults if index in needed and fault.operation == name]

    @property
    def passed(self) -> list[Fault]:
        """The faults that were reached although what comes before them had failed."""
        if self.kind is not PassedFailure or self.stage is None:
            return []
        stages = self._expectation.stages
        later = stages[stages.index(self.stage) + 1 :]
        parts = [faults for stage in later for faults in (*stage.certain.values(), *stage.possible.values())]
        places = {index for faults in parts for index in faults}
        reached = [self.scenario.all_faults[index] for index in sorted(places & self._reached)]
        at_hooks = [fault for fault in reached if isinstance(fault, Fault)]
        if len(at_hooks) < len(reached):
            raise CannotWrite("there is no script for an operation on files after something has failed yet")
        return at_hooks

    @property
    def compares_outcome(self) -> bool:
        """Whether the script compares what the last operation raised, or that it returned, with what it must."""
        return self.stage is not None or self.hangs or (self.kind in _BLAME and self.kind is not UnexpectedFailure)

    @property
    def raises(self) -> bool:
        """Whether the last call may raise."""
        return self.compares_outcome or self.kind is UnexpectedFailure

    @property
    def overwrites(self) -> bool:
        """Whether the caller of an asynchronous save goes on and changes the tensors, while it is written out."""
        return self.scenario.save.uploads and self.compares_content and self.last == "load"

    @property
    def in_flight(self) -> bool:
        """Whether it is an upload beside another one, neither of which has begun when both were asked for."""
        return False

    @property
    def hangs(self) -> bool:
        """Whether ranks wait for ever."""
        return self.kind is Deadlock

    @property
    def compares_content(self) -> bool:
        """Whether it matters what tensors and objects hold."""
        return not self.compares_outcome and self.replaced is None and (self.kind is None or self.kind in _CONTENT)

    @cached_property
    def earlier(self) -> tuple[EarlierSave, ...]:
        """The saves that come first."""
        verdicts = (Verdict(scenario, Outcome(OperationOutcome(())), expected(scenario)) for scenario in self.before)
        return tuple(EarlierSave(verdict, number=number, of=self) for number, verdict in enumerate(verdicts))


@dataclass(frozen=True, kw_only=True)
class EarlierSave(Plan):
    """A save before the one that matters, of which it only matters that it was done."""

    number: int
    of: Plan

    @property
    def path(self) -> str:
        """A directory of its own, or the one that is saved over."""
        return "path" if self.of.scenario.earlier != "nothing" else f'f"{{path}}/{self.number}"'

    @property
    def ranks(self) -> int:
        """As many as the script needs."""
        return self.of.ranks

    @property
    def in_flight(self) -> bool:
        """As the save that it comes before."""
        return self.of.in_flight

    @property
    def compares_content(self) -> bool:
        """It does not matter."""
        return False
