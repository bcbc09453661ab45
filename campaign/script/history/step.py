"""A step of a history, as a part of its script."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from properties.ledger import LedgerEntry
from properties.oracle import expected
from properties.verdict import Verdict
from worlds.dtypes import DTYPES
from worlds.entries import Key, Nested, TensorEntry
from worlds.histories import History, HistoryOutcome
from worlds.operations import Operation
from worlds.outcome import OperationOutcome, Outcome, Raised
from worlds.scenario import Scenario
from worlds.state_tree import Leaf

from ..known import CannotWrite, check_known
from ..memory import layout_of
from ..plan import Name, Plan
from ..steps import can_count
from ..use import Use
from .alone import of_no_step
from .used_again import shared_steps, tensors_again, uses_of

__all__ = ["StepPlan", "ends_late", "of_verdict", "plan_alone", "plans_of"]


@dataclass(frozen=True, kw_only=True)
class StepPlan(Plan):
    """A save of values that are all the number of the step, or a load into zeros.

    With ``by_rank``, what a rank saves tells which rank, too: see :attr:`numbers`.
    A job of more ranks than it takes is the script's, and whether that has a group.
    """

    name: Name
    number: int
    seen: OperationOutcome
    place: str
    job: tuple[int, bool]
    kept: Mapping[str, Use]
    fails_in: frozenset[str] = frozenset()
    again: frozenset[Key] = frozenset()
    overtaken: bool = False
    by_rank: bool = False
    result: tuple[str, ...] = ()
    then: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[Name, ...]:
        """It alone."""
        return (self.name,)

    @property
    def last(self) -> Name:
        """As above."""
        return self.name

    @property
    def step(self) -> int:
        """Its number."""
        return self.number

    @property
    def path(self) -> str:
        """Its checkpoint's."""
        return self.place

    @property
    def fill(self) -> str:
        """The number of a save, and what no save has."""
        if self.name == "save" and len(self.numbers) > 1:
            return f"{self.number} + rank / {_RANKS}"
        return str(self.number if self.name == "save" else 0)

    @property
    def numbers(self) -> tuple[float, ...]:
        """What its ranks save."""
        ranks = range(len(self.members("save"))) if self.by_rank else range(1)
        return tuple(self.number + rank / _RANKS for rank in ranks)

    def check_places(self) -> None:
        """Raise :class:`CannotWrite` where elements do not tell the rank that has saved them."""
        if self.name == "load":
            return
        for leaf in self.leaves("save"):
            layout = layout_of(leaf, "save")
            held = isinstance(leaf.entry, TensorEntry) and DTYPES[leaf.entry.dtype].is_floating_point
            ranks = range(len(self.members("save")))
            if not held or layout.kind != "ShardedTensor" or not all(_has_some(leaf, rank) for rank in ranks):
                raise CannotWrite("there is no script yet for elements at other places, but of shards that are numbers")

    @property
    def uses(self) -> Mapping[str, Use]:
        """What it shares with other steps."""
        return self.kept

    @property
    def failing_kinds(self) -> frozenset[str]:
        """What fails in it, or in a step that uses the same."""
        return self.fails_in

    @property
    def held(self) -> frozenset[Key]:
        """What it has of the save before it."""
        return self.again

    @property
    def is_overtaken(self) -> bool:
        """Whether the next step comes to its end before its upload begins."""
        return self.overtaken

    @property
    def attempted(self) -> list[str]:
        """The end of its upload, where it was overtaken."""
        return list(self.result)

    @property
    def afterwards(self) -> list[str]:
        """The end of the upload that it has overtaken."""
        return list(self.then)

    @property
    def ranks(self) -> int:
        """Those of the script."""
        return self.job[0]

    @property
    def has_group(self) -> bool:
        """Whether the script has a group."""
        return self.job[1]

    @property
    def compares_content(self) -> bool:
        """But for the number of a step, it does not matter."""
        return False

    @property
    def is_metadata_alone(self) -> bool:
        """Whether nothing was saved: it was, or read."""
        return False

    @property
    def returned(self) -> bool:
        """Whether it did on every rank."""
        return self.seen.returned


_RANKS = 8
"""More than a history has, and a power of two, so that numbers of steps and ranks are exact in any dtype."""


def _has_some(leaf: Leaf, rank: int) -> bool:
    saved = leaf.entry.saved
    assert isinstance(leaf.entry, TensorEntry)
    return saved is not None and any(math.prod(part.sizes) for part in saved.parts(leaf.entry.shape, rank))


def plans_of(
    history: History,
    outcome: HistoryOutcome,
    steps: list[int],
    *,
    below: bool,
    must: Mapping[int, set[str]] = MappingProxyType({}),
) -> list[StepPlan]:
    """The plans of those steps, in the order in which they begin; with checkpoints ``below`` the script's own path.

    ``must`` says of a step what must fail in it, beside what did.
    """
    uses, held = uses_of(history, outcome, steps), tensors_again(history, steps)
    shared = shared_steps(history, outcome, steps)
    reached = {index: _reached(history, outcome, index) | must.get(index, set()) for index in steps}
    job = _job(history, steps)
    places = {history.steps[index].at for index in steps}
    plans = []
    for index in steps:
        step = history.steps[index]
        with_it = {kind: shared.get((index, kind), [index]) for kind in ("writer", "reader", "planner")}
        plans.append(
            StepPlan(
                _verdict(history, outcome, index, job[0]),
                name=step.name,
                number=index + 1,
                seen=outcome.steps[index].operation,
                place=f'f"{{path}}/{step.at}"' if below or len(places) > 1 else "path",
                job=job,
                kept=uses[index],
                fails_in=frozenset(_fail(history, reached, with_it, step.name)),
                again=held.get(index, frozenset()),
                overtaken=ends_late(history, outcome, index),
            )
        )
    return plans


def ends_late(history: History, outcome: HistoryOutcome, index: int) -> bool:
    """Whether a step is overtaken, and has not failed already when async_save was called."""
    if not history.is_overtaken(index) or index >= len(outcome.steps):
        return history.is_overtaken(index)
    seen = outcome.steps[index].operation
    return seen.returned or all(isinstance(rank, Raised) and rank.failures for rank in seen.ranks)


def of_verdict(plan: StepPlan, verdict: Verdict, issue: LedgerEntry | None, before: tuple[Scenario, ...]) -> StepPlan:
    """The step as a plan of what is wrong with it by itself, after those before it."""
    scenario = replace(of_no_step(verdict.scenario), earlier="nothing")
    operation = _of_job(scenario.operation(plan.name), plan.ranks)
    scenario = replace(scenario, save=operation) if plan.name == "save" else replace(scenario, load=operation)
    check_known(scenario)
    return replace(plan, verdict=replace(verdict, scenario=scenario), issue=issue, before=before)


def plan_alone(plan: StepPlan) -> StepPlan:
    """The save at a path where nothing is, with all that it uses new, and without plans that were kept."""
    scenario = plan.scenario
    uncached = replace(scenario, planner=replace(scenario.planner, enable_plan_caching=False))
    alone = replace(plan.verdict, scenario=uncached)
    return replace(
        plan,
        verdict=alone,
        place='f"{path}/alone"',
        kept={},
        again=frozenset(),
        overtaken=False,
    )


def _job(history: History, steps: list[int]) -> tuple[int, bool]:
    operations = [history.steps[index].operation for index in steps]
    return max(operation.world_size for operation in operations), any(operation.distributed for operation in operations)


def _verdict(history: History, outcome: HistoryOutcome, index: int, ranks: int) -> Verdict:
    step, seen = history.steps[index], outcome.steps[index].operation
    scenario = replace(of_no_step(history.scenario(index)), earlier="nothing")
    operation = _of_job(step.operation, ranks)
    save = step.name == "save"
    scenario = replace(scenario, save=operation) if save else replace(scenario, load=operation)
    check_known(scenario)
    for entry in scenario.entries:
        if isinstance(entry, Nested) or (isinstance(entry, TensorEntry) and not can_count(entry.dtype, index + 1)):
            raise CannotWrite("there is no script yet for a history of containers, or of such a dtype")
    return Verdict(scenario, Outcome(seen) if save else Outcome(OperationOutcome(()), seen), expected(scenario))


def _of_job(operation: Operation, ranks: int) -> Operation:
    """The operation by the first ranks of a job of so many."""
    if operation.world_size == ranks or not operation.distributed:
        return operation
    return replace(operation, members=tuple(range(operation.world_size)))


def _reached(history: History, outcome: HistoryOutcome, index: int) -> set[str]:
    """The kinds of what fails in a step."""
    step, hits = history.steps[index], outcome.steps[index].operation.hits
    return {step.faults[hit.index].hook.partition(".")[0] for hit in hits} if step.faults else set()


def _fail(
    history: History, reached: Mapping[int, set[str]], with_it: Mapping[str, list[int]], name: Name
) -> Iterator[str]:
    """The kinds of what fails in a step, or in another that uses the same; what is cached goes by a planner's class."""
    for kind, indices in with_it.items():
        cached = kind == "planner" and history.planner.enable_plan_caching
        among = [index for index in reached if history.steps[index].name == name] if cached else indices
        if any(kind in reached[index] for index in among):
            yield kind
