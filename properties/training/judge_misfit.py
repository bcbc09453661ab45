"""Judges a training that was given what does not fit it: that is refused clearly, and what fits is loaded after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from properties.verdict import describe_ranks, place_of, rank_text, ranks_text
from properties.violations import (
    Deadlock,
    Disagreement,
    LostFailure,
    NotRefused,
    RankDied,
    UnclearRefusal,
    UnexpectedFailure,
    Violation,
    WrongBits,
)
from worlds.concise import pretty
from worlds.outcome import Deadlocked, Died, ErrorRecord, Raised, RankOutcome, Returned
from worlds.training import Failed
from worlds.training.misfit import Kind, Misfit
from worlds.training.misfit_outcome import Ended, GoesOn, MisfitOutcome, Took

__all__ = ["FROM_WITHIN", "WORDS", "MisfitBreach", "judge_misfit", "seen_of"]

FROM_WITHIN = frozenset(
    ("AttributeError", "IndexError", "KeyError", "NameError", "UnboundLocalError", "ZeroDivisionError")
)
"""Errors of a program that did not expect what it has got."""

WORDS: Mapping[Kind, tuple[str, ...]] = {
    "list for the model's state": ("dict",),
    "model's state of another module": ("state_dict", "Missing key"),
    "no state": ("state",),
    "no param_groups": ("group", "optim state_dict is empty"),
    "no groups": ("group",),
    "parameter missing in a group": ("group",),
    "parameter too many in a group": ("group",),
    "parameter ids for names": ("id", "name", "FQN"),
    "list for the optimizer's state": ("dict",),
    "state of another optimizer": ("optimizer", "state", "group"),
    "optimizer of another model": ("optimizer", "parameter"),
}
"""Words of which one must be in what is said of what has no name: all else is to be named."""

_NOT_STRICT: tuple[Kind, ...] = ("model key missing", "model key too many", "model's state of another module")
"""What is reported with ``strict=False``."""


@dataclass(frozen=True)
class MisfitBreach:
    """What is wrong with how it ended: the kind, one line, and the rank and the error that it is about, if it is."""

    kind: type[Violation]
    headline: str
    misfit: Misfit
    outcome: MisfitOutcome
    rank: int = 0
    error: ErrorRecord | None = None
    when: Literal["in the call", "after it"] = "in the call"

    def violation(self) -> Violation:
        """The exception, with the whole text."""
        misfit, outcome = self.misfit, self.outcome
        given = f"{ranks_text(misfit.wrong)} {'give' if len(misfit.wrong) > 1 else 'gives'} {misfit.kind}"
        named = f" ({outcome.name})" if outcome.name else ""
        lines = [self.headline, "", *f"misfit = {pretty(misfit)}".splitlines(), ""]
        lines.append(f"expected  {given}{named}, and is told so, or it makes no difference; then what fits is loaded")
        seen: tuple[Any, ...] = seen_of(outcome)
        lines += (f"seen      {ranks}: {text}" for ranks, text in describe_ranks(seen, _said))
        for ranks, text in describe_ranks(tuple(map(_after, outcome.ranks)), rank_text):
            if not text.startswith("returned"):
                lines.append(f"after it  {ranks}: {text}")
        place = place_of(each for each in seen_of(outcome) if not isinstance(each, Took))
        fact = f"{misfit.kind} {self.when}" + (f" {self.error.type}" if self.error is not None else "")
        return self.kind("\n".join(lines)).at(place, fact)


def seen_of(outcome: MisfitOutcome) -> tuple[Took | RankOutcome, ...]:
    """What came of the call on each rank."""
    pairs = zip(outcome.calls, outcome.ranks, strict=True)
    return tuple(call if call is not None else _stopped(end) for call, end in pairs)


def _stopped(end: Ended | Failed | Deadlocked | Died) -> Took | RankOutcome:
    if isinstance(end, Ended | Failed):
        return end.call if isinstance(end, Ended) else end.raised
    return end


def _said(seen: Took | RankOutcome) -> str:
    if not isinstance(seen, Took):
        return rank_text(seen)
    reported = {"missing": seen.missing, "unexpected": seen.unexpected}
    said = [f"{name} {', '.join(keys)}" for name, keys in reported.items() if keys]
    return f"returned{', and reported ' if said else ''}{' and '.join(said)}"


def _after(end: Ended | Failed | Deadlocked | Died) -> RankOutcome:
    then = end.then if isinstance(end, Ended) else end
    if isinstance(then, Failed):
        return then.raised
    return Returned(()) if isinstance(then, GoesOn) else then


def judge_misfit(misfit: Misfit, outcome: MisfitOutcome) -> tuple[MisfitBreach, ...]:
    """All that is wrong, the most fundamental first: of what is known, none hides what is new.

    Nothing is judged where what is right could not be loaded alone: that is what the law on trainings is for.
    """
    size = misfit.side.parallelism.world_size
    if not len(outcome.alone) == len(outcome.calls) == len(outcome.ranks) == size:
        raise ValueError(f"{size} ranks are given something, and the outcome has {len(outcome.ranks)}")
    if not all(alone and isinstance(alone.call, Took) and isinstance(alone.then, GoesOn) for alone in outcome.alone):
        return ()
    judged = _Judged(misfit, outcome)
    return (*judged.stopped(), *judged.refused(), *judged.told(), *judged.others(), *judged.after())


@dataclass(frozen=True)
class _Judged:
    misfit: Misfit
    outcome: MisfitOutcome

    def breach(self, kind: type[Violation], headline: str, **about: object) -> MisfitBreach:
        return MisfitBreach(kind, headline, self.misfit, self.outcome, **about)  # type: ignore[arg-type]

    @property
    def raised(self) -> dict[int, Raised]:
        found = enumerate(self.outcome.calls)
        return {rank: seen for rank, seen in found if isinstance(seen, Raised) and rank in self.misfit.alike}

    def stopped(self) -> Iterator[MisfitBreach]:
        """The first rank that waits for ever, and the first that has died, in the call or after it."""
        for kind, ends in ((Deadlock, Deadlocked), (RankDied, Died)):
            for rank, (call, seen) in enumerate(zip(self.outcome.calls, self.outcome.ranks, strict=True)):
                if isinstance(seen, ends) and (call is None or None not in self.outcome.calls):
                    when = "in the call" if call is None else "after it"
                    yield self.breach(kind, f"{when}: rank {rank} {rank_text(seen)}", rank=rank, when=when)
                    break

    def refused(self) -> Iterator[MisfitBreach]:
        """Whether ranks that are given the same are refused alike, or take what makes no difference."""
        for rank in self.misfit.alike:
            seen = self.outcome.calls[rank]
            if isinstance(seen, Took) and not self.may_take(rank, seen):
                yield self.breach(NotRefused, f"rank {rank} took {self.misfit.kind}, and goes on with that", rank=rank)
                break
        if not self.raised:
            return
        returned = [rank for rank in self.misfit.alike if isinstance(self.outcome.calls[rank], Took)]
        if returned:
            headline = f"{ranks_text(returned)} returned, and {ranks_text([*self.raised])} raised"
            yield self.breach(LostFailure, headline, rank=returned[0])
        types = {seen.error.type: rank for rank, seen in reversed(self.raised.items())}
        if len(types) > 1:
            texts = (f"rank {rank} {rank_text(self.raised[rank])}" for rank in sorted(types.values()))
            yield self.breach(Disagreement, ", and ".join(texts))

    def may_take(self, rank: int, seen: Took) -> bool:
        """Whether it is right that nobody raised: it makes no difference, or is reported as ``strict`` says."""
        if seen.held == self.right(rank):
            return True
        kind = self.misfit.kind
        if self.misfit.side.strict:
            return False
        if kind == "state of a parameter missing":
            return True
        names = [name for name in seen.missing + seen.unexpected if name.endswith(self.outcome.name)]
        return kind in _NOT_STRICT and bool(names)

    def right(self, rank: int) -> object:
        """What the rank holds that was given what is right in the place of that."""
        alone = self.outcome.alone[rank]
        assert alone is not None
        return alone.call.held if isinstance(alone.call, Took) else alone.call

    def told(self) -> Iterator[MisfitBreach]:
        """The first error of each kind that does not say what is wrong."""
        kinds: dict[str, int] = {}
        for rank, seen in self.raised.items():
            if not self.is_clear(seen.error):
                kinds.setdefault(seen.error.type, rank)
        for rank in kinds.values():
            error = self.raised[rank].error
            headline = f"rank {rank} is refused by {error.type}: {' '.join(error.message.split())[:200]}"
            yield self.breach(UnclearRefusal, headline, rank=rank, error=error)

    def is_clear(self, error: ErrorRecord) -> bool:
        if error.type in FROM_WITHIN:
            return False
        words = WORDS.get(self.misfit.kind)
        if words is not None:
            return any(word in error.message for word in words)
        if self.misfit.part == "model" and "model state_dict is empty" in error.message:
            return True  # without the key that is missing
        # A wrapper has names in between of its own.
        message = error.message.replace("_fsdp_wrapped_module.", "")
        parent, _, leaf = self.outcome.name.rpartition(".")
        return leaf in message and parent in message

    def others(self) -> Iterator[MisfitBreach]:
        """The first rank that was given what is right, and holds something else."""
        for rank, seen in enumerate(self.outcome.calls):
            if rank not in self.misfit.alike and isinstance(seen, Took) and seen.held != self.right(rank):
                headline = f"rank {rank} was given what is right, and holds something else"
                yield self.breach(WrongBits, headline, rank=rank)
                return

    def after(self) -> Iterator[MisfitBreach]:
        """The first rank that does not go on as if nothing had been, once it has what is right."""
        for rank, (alone, seen) in enumerate(zip(self.outcome.alone, self.outcome.ranks, strict=True)):
            if alone is None or not isinstance(seen, Ended) or seen.then == alone.then:
                continue
            if isinstance(seen.then, Failed):
                headline = f"after it: rank {rank} {rank_text(seen.then.raised)} in {_CALLS[seen.then.call]}"
                error = seen.then.raised.error
                yield self.breach(UnexpectedFailure, headline, rank=rank, when="after it", error=error)
            else:
                headline = f"after it: rank {rank} was given what is right, and does not hold that"
                yield self.breach(WrongBits, headline, rank=rank, when="after it")
            return


_CALLS = {"set": "the call on what is right", "step": "a step"}
