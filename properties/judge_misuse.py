"""Judges a call with an argument that it cannot have: it is refused on every rank, clearly and harmlessly, or works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from worlds.concise import pretty
from worlds.misuses import Kind, Misuse, MisuseOutcome
from worlds.outcome import Deadlocked, Died, ErrorRecord, OperationOutcome, Outcome, Raised, RankOutcome, Returned

from .judge import judge, judge_load
from .judge_state import judge_state, judge_untouched
from .verdict import Breach, describe_ranks, place_of, rank_text, ranks_text
from .violations import (
    Deadlock,
    Disagreement,
    LostFailure,
    NotRefused,
    RankDied,
    UnclearRefusal,
    UnexpectedFailure,
    UnprotectedFailure,
    Violation,
    WrongRanks,
    WroteBeforeRefusal,
)

__all__ = ["MisuseBreach", "errors_of", "judge_misuse"]

_FROM_WITHIN = frozenset(
    ("AttributeError", "IndexError", "KeyError", "NameError", "UnboundLocalError", "ZeroDivisionError")
)
"""Errors of a program that did not expect what it has got, which tell nobody who has called it what is wrong."""

_IF_IT_WRITES: tuple[Kind, ...] = ("no threads", "threads below 0")
"""What does no harm on a rank that has nothing to write."""

_MAY_WORK: tuple[Kind, ...] = (
    *_IF_IT_WRITES,
    "copy ahead below 0",
    "format by its name",
    "executor by its name",
    "no_dist",
    "no collectives",
    "planner for the other",
)
"""What DCP can have a meaning for, as what plans where there is nothing to plan; all else must be refused."""


@dataclass(frozen=True)
class MisuseBreach:
    """What is wrong with how a misuse ended: the kind, one line, and the error that it is about, if it is about one."""

    kind: type[Violation]
    headline: str
    misuse: Misuse
    outcome: MisuseOutcome
    error: ErrorRecord | None = None
    detail: tuple[str, ...] = ()
    when: str = "in the call"
    """Or before, after it, or as what it has saved is loaded."""

    def violation(self) -> Violation:
        """The exception, with the whole text."""
        call, misuse = self.outcome.call, self.misuse
        given = f"{ranks_text(misuse.wrong)} {'give' if len(misuse.wrong) > 1 else 'gives'} {misuse.kind}"
        lines = [self.headline, "", *f"misuse = {pretty(misuse)}".splitlines(), ""]
        lines.append(f"expected  {given}, and every rank is told so before anything is done, or all is right")
        for ranks, text in describe_ranks(() if call is None else call.ranks, rank_text):
            lines.append(f"seen      {misuse.name}: {ranks}: {text}")
        if self.outcome.changed:
            lines.append(f"seen      files that are not as they were: {', '.join(self.outcome.changed)}")
        place = "" if call is None else place_of(call.ranks)
        fact = f"{misuse.kind} {self.when}" + (f" {self.error.type}" if self.error is not None else "")
        return self.kind("\n".join([*lines, *self.detail])).at(place, fact)


def judge_misuse(misuse: Misuse, outcome: MisuseOutcome) -> tuple[MisuseBreach, ...]:
    """All that is wrong, the most fundamental first: of what is known, none hides what is new."""
    return tuple(_breaches(misuse, outcome))


def _breaches(misuse: Misuse, outcome: MisuseOutcome) -> Iterator[MisuseBreach]:
    if outcome.before is not None and not outcome.before.returned:
        yield _as(misuse, outcome, judge(misuse.scenario, Outcome(outcome.before)).breach, "before")
    call = outcome.call
    if call is None:
        return
    if len(call.ranks) != misuse.operation.world_size:
        raise ValueError(f"{misuse.operation.world_size} ranks call, and the outcome has {len(call.ranks)}")
    for kind, headline, error in (*_ended(misuse, call), *_refused(misuse, call), *_told(call)):
        yield MisuseBreach(kind, f"{misuse.name}: {headline}", misuse, outcome, error)
    if outcome.changed and _raised(call) and misuse.kind != "group of others":
        files = ", ".join(outcome.changed)
        yield MisuseBreach(WroteBeforeRefusal, f"{misuse.name}: what is refused wrote {files}", misuse, outcome)
    for breach in _state(misuse, call):
        yield _as(misuse, outcome, breach, "in the call")
    if misuse.name == "save" and outcome.loaded is not None:
        verdict = judge_load(misuse.scenario, Outcome(call, outcome.loaded))
        if verdict.breach is not None:
            yield _as(misuse, outcome, verdict.breach, "as it is loaded")
    if outcome.after is not None:
        verdict = judge(misuse.scenario, outcome.after)
        if verdict.breach is not None:
            yield _as(misuse, outcome, verdict.breach, "after it")


def _as(misuse: Misuse, outcome: MisuseOutcome, breach: Breach | None, when: str) -> MisuseBreach:
    if breach is None:
        raise ValueError("the save before did not return, and nothing is wrong with it")
    prefix = "" if when == "in the call" else f"{when}: "
    return MisuseBreach(breach.kind, f"{prefix}{breach.headline}", misuse, outcome, None, breach.detail, when)


_Found = tuple[type[Violation], str, ErrorRecord | None]


def _ended(misuse: Misuse, call: OperationOutcome) -> Iterator[_Found]:
    """The first rank that waits for ever, and the first that has died."""
    for kind, end in ((Deadlock, Deadlocked), (RankDied, Died)):
        for rank, seen in enumerate(call.ranks):
            if isinstance(seen, end):
                yield kind, f"rank {rank} {rank_text(seen)}", None
                break


def _raised(call: OperationOutcome) -> dict[int, Raised]:
    return {rank: seen for rank, seen in enumerate(call.ranks) if isinstance(seen, Raised)}


def _refused(misuse: Misuse, call: OperationOutcome) -> Iterator[_Found]:
    """Whether all ranks that are to be told are, of those that gave what is wrong, and in the same way."""
    raised, wrong = _raised(call), set(misuse.wrong)
    returned = [rank for rank, seen in enumerate(call.ranks) if isinstance(seen, Returned)]
    if misuse.kind == "group of others":
        yield from _refused_alone(misuse, call)
        return
    if len(returned) == len(call.ranks) and misuse.kind not in _MAY_WORK:
        yield NotRefused, f"every rank returned, though {misuse.kind} cannot be", None
    if not raised:
        return
    for rank in returned:
        yield LostFailure, f"rank {rank} returned, and {ranks_text([*raised])} raised", None
    if len(returned) + len(raised) < len(call.ranks):
        return  # Who waits for ever was not told, and that is the breach.
    for rank, seen in raised.items():
        if seen.failures is None and len(wrong) < len(call.ranks):
            yield UnprotectedFailure, f"rank {rank} {rank_text(seen)}", seen.error
        elif seen.failures is not None:
            named = {who for who, _ in seen.failures}
            if named - wrong:
                yield WrongRanks, f"rank {rank} {rank_text(seen)}", None
            if not named or (wrong - named and misuse.kind not in _IF_IT_WRITES):
                yield LostFailure, f"rank {rank} {rank_text(seen)}", None
    first = next(iter(raised.values()))
    for rank, seen in raised.items():
        if (seen.error.type, seen.phase, seen.failures) != (first.error.type, first.phase, first.failures):
            yield Disagreement, f"rank {rank} {rank_text(seen)}, and another one {rank_text(first)}", None


def _refused_alone(misuse: Misuse, call: OperationOutcome) -> Iterator[_Found]:
    """A rank that is in no group is told so; the others have what they need."""
    for rank, seen in enumerate(call.ranks):
        if rank in misuse.wrong and isinstance(seen, Returned):
            yield NotRefused, f"rank {rank} returned, and is not in the group", None
        elif rank not in misuse.wrong and isinstance(seen, Raised):
            yield UnexpectedFailure, f"rank {rank} {rank_text(seen)}", seen.error


def _told(call: OperationOutcome) -> Iterator[_Found]:
    """The first error of each kind that says nothing."""
    errors = [error for seen in _raised(call).values() for error in errors_of(seen)]
    for error in dict.fromkeys(errors):
        if error.type in _FROM_WITHIN or not error.message.strip():
            yield UnclearRefusal, f"refused by {error.type}: {error.message}", error


def errors_of(seen: Raised) -> list[ErrorRecord]:
    """What a rank has raised, or what those have that it names."""
    return [seen.error] if seen.failures is None else [error for _, error in seen.failures]


def _state(misuse: Misuse, call: OperationOutcome) -> Iterator[Breach]:
    """What is wrong with what ranks hold: what they had, or, where a load returned, what was saved."""
    name, scenario = misuse.name, misuse.scenario
    if name == "save":
        yield from judge_state(scenario, "save", OperationOutcome(tuple(map(_kept, call.ranks))))
        return
    for breach in judge_untouched(scenario, OperationOutcome(tuple(map(_as_planned, call.ranks)))):
        yield replace(breach, headline=breach.headline.replace("failed in 'plan'", "was refused"))
    alone = misuse.kind == "group of others"  # where what returned and should not have holds what it has held
    ranks = tuple(_nothing(seen) if alone and rank in misuse.wrong else seen for rank, seen in enumerate(call.ranks))
    yield from judge_state(scenario, "load", OperationOutcome(ranks))


def _kept(seen: RankOutcome) -> RankOutcome:
    return Returned(seen.state) if isinstance(seen, Raised) else seen


def _as_planned(seen: RankOutcome) -> RankOutcome:
    """As if it had been refused in the plan, whenever it was: nothing is to be read of what is wrong."""
    return replace(seen, phase="plan") if isinstance(seen, Raised) else seen


def _nothing(seen: RankOutcome) -> RankOutcome:
    return Raised(ErrorRecord("", "")) if isinstance(seen, Returned) else seen
