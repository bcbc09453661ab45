"""What the judge says: that the laws hold, or which one broke, where and how, in text for whoever reads it at night."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from worlds.concise import pretty
from worlds.entries import Path
from worlds.outcome import Deadlocked, Died, OperationOutcome, Outcome, Raised, RankOutcome, Returned
from worlds.scenario import Scenario

from .oracle import Expectation, OperationExpectation, Stage
from .reach import REFUSAL
from .violations import Violation

__all__ = ["Breach", "Verdict", "describe_ranks", "outcome_lines", "place_of", "rank_text", "ranks_text"]


@dataclass(frozen=True)
class Breach:
    """A law is broken: the kind, what broke in one line, the operation, and what was expected beside what was seen."""

    kind: type[Violation]
    headline: str
    operation: str
    detail: tuple[str, ...] = ()
    """Lines that show the first difference, where there is more to show than what each rank raised."""
    path: Path = ()
    """Where in the state dict it is, if it is there."""
    damage: tuple[str, ...] = ()
    """Lines that show what had befallen the checkpoint, and who reads it."""
    fact: str = ""
    """As :attr:`Violation.fact`."""


@dataclass(frozen=True)
class Verdict:
    """True when the laws hold. ``breach`` is the first thing that is wrong; what follows from it is not listed."""

    scenario: Scenario
    outcome: Outcome
    expectation: Expectation
    breach: Breach | None = None

    def __bool__(self) -> bool:
        return self.breach is None

    def __str__(self) -> str:
        return "the laws hold" if self.breach is None else f"{self.breach.kind.__name__}: {self.violation()}"

    def violation(self) -> Violation | None:
        """The exception of the breach's kind, with the whole text."""
        if self.breach is None:
            return None
        seen = self.outcome.save if self.breach.operation == "save" else self.outcome.load
        place = "" if seen is None else place_of(seen.ranks)
        return self.breach.kind("\n".join(self._lines(self.breach))).at(place, self.breach.fact)

    def raise_for_violation(self) -> None:
        """Raise the exception of the breach's kind, if there is a breach."""
        __tracebackhide__ = True
        violation = self.violation()
        if violation is not None:
            violation.throw()

    def _lines(self, breach: Breach) -> Iterator[str]:
        yield breach.headline
        yield ""
        yield from f"scenario = {pretty(self.scenario)}".splitlines()
        yield ""
        expectation = self.expectation.save if breach.operation == "save" else self.expectation.load
        damaged = breach.operation == "load" and self.outcome.damaged  # then it depends on who reads the damage
        if expectation is not None and not damaged:
            yield f"expected  {breach.operation}: {_expected_text(self.scenario, expectation)}"
        outcome = self.outcome.save if breach.operation == "save" else self.outcome.load
        if outcome is not None:
            yield from _seen_text(self.scenario, breach.operation, outcome)
            yield from _stacks_text(outcome)
        yield from breach.detail
        yield from breach.damage


def _expected_text(scenario: Scenario, expectation: OperationExpectation) -> str:
    if not expectation.stages:
        return "succeeds on every rank"
    return ", or else: ".join(_stage_text(scenario, stage) for stage in expectation.stages[:3])


def _stage_text(scenario: Scenario, stage: Stage) -> str:
    phase = "" if stage.phase is None else f" in {stage.phase!r}"
    named = [_fault_text(scenario, rank, faults) for rank, faults in sorted(stage.certain.items())]
    named += [f"{_fault_text(scenario, rank, faults)} if reached" for rank, faults in sorted(stage.possible.items())]
    return f"every rank raises CheckpointException{phase} naming {'; '.join(named)}"


def _fault_text(scenario: Scenario, rank: int, faults: tuple[int, ...]) -> str:
    made = scenario.all_faults
    causes = [
        "what it refuses" if index == REFUSAL else f"{made[index].error} of {made[index].hook}" for index in faults
    ]
    return f"rank {rank} ({' or '.join(causes)})"


def _seen_text(scenario: Scenario, operation: str, outcome: OperationOutcome) -> Iterator[str]:
    groups = describe_ranks(outcome.ranks, rank_text)
    for index, (ranks, text) in enumerate(groups):
        yield f"{'seen      ' + operation + ': ' if index == 0 else ' ' * (12 + len(operation))}{ranks}: {text}"
    struck = [(scenario.all_faults[hit.index], hit.raised) for hit in outcome.hits]
    hits = [f"{raised or fault.hook} on rank {fault.rank}" for fault, raised in struck]
    if hits:
        unique = list(dict.fromkeys(hits))
        yield f"reached   faults: {', '.join(unique[:8])}{' …' if len(unique) > 8 else ''}"


def _stacks_text(outcome: OperationOutcome, limit: int = 3) -> Iterator[str]:
    """Where the ranks that wait stand, in a world that can tell; those that stand in one place together."""
    groups = [group for group in describe_ranks(outcome.ranks, _stack_of) if group[1]]
    for ranks, stack in groups[:limit]:
        yield f"stack     {ranks}:"
        yield from (f"          {line}".rstrip() for line in stack.splitlines())


def _stack_of(seen: RankOutcome) -> str:
    return seen.stack if isinstance(seen, Deadlocked) else ""


def outcome_lines(name: str, outcome: Outcome) -> Iterator[str]:
    """A line for what each group of ranks saw of the save and of the load, and one for the metadata."""
    for operation, seen in (("save", outcome.save), ("load", outcome.load)):
        if seen is not None:
            for ranks, text in describe_ranks(seen.ranks, rank_text):
                yield f"{name:9} {operation}: {ranks}: {text}"
    yield f"{name:9} metadata: {outcome.metadata or outcome.metadata_error}"


def place_of(ranks: Iterable[RankOutcome]) -> str:
    """Where in DCP the first rank stands that raised, and else the first that waits for ever."""
    places = {Raised: "", Deadlocked: ""}
    for seen in ranks:
        if isinstance(seen, Deadlocked):
            places[Deadlocked] = places[Deadlocked] or seen.place
        elif isinstance(seen, Raised):
            error = seen.error if not seen.failures else seen.failures[0][1]
            places[Raised] = places[Raised] or error.place
    return places[Raised] or places[Deadlocked]


def rank_text(seen: RankOutcome) -> str:
    """What a rank saw, in one line."""
    match seen:
        case Returned():
            return "returned"
        case Deadlocked(waiting):
            return f"waiting for ever in {waiting}"
        case Died(reason):
            return f"died: {reason}"
        case Raised(error, phase, None, origin):
            return f"raised {error.type}: {_one_line(error.message)}{f' (in {origin})' if origin else ''}"
        case Raised(error, phase, failures):
            named = [f"rank {rank} ({error.type}: {_one_line(error.message)})" for rank, error in failures or ()]
            return f"raised CheckpointException in {phase!r} naming {'; '.join(named) if named else 'nobody'}"
    raise TypeError(f"no outcome of a rank: {seen!r}")


def _one_line(message: str, limit: int = 160) -> str:
    message = " ".join(message.split())
    return message if len(message) <= limit else f"{message[:limit]}…"


def describe_ranks(seen: tuple[RankOutcome, ...], text: Callable[[RankOutcome], str]) -> list[tuple[str, str]]:
    """The ranks that saw the same together, as ``("ranks 0-2", text)``, the lowest rank first."""
    groups: dict[str, list[int]] = {}
    for rank, what in enumerate(seen):
        groups.setdefault(text(what), []).append(rank)
    return [(ranks_text(ranks), said) for said, ranks in groups.items()]


def ranks_text(ranks: Sequence[int]) -> str:
    """Ranks in their order, as ``"rank 1"`` or ``"ranks 0-2, 4"``."""
    return f"rank{'s' if len(ranks) > 1 else ''} {_ranges(ranks)}"


def _ranges(ranks: Sequence[int]) -> str:
    parts: list[tuple[int, int]] = []
    for rank in ranks:
        if parts and parts[-1][1] == rank - 1:
            parts[-1] = (parts[-1][0], rank)
        else:
            parts.append((rank, rank))
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
