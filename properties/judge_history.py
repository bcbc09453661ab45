"""Judges a history: each load sees the state of one save, whole, and no save shows what was before it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from worlds.histories import History, HistoryOutcome, Load, Save, Step, StepOutcome
from worlds.outcome import Outcome, Raised, Returned
from worlds.storages import lies_open

from .agreement import is_race
from .history_model import NOTHING, UNKNOWN, Sight
from .history_states import LEFT, count_saves, others_held, saves_seen
from .history_story import story
from .judge import judge_load, judge_save
from .judge_killed import EarlierChanged, MixedCheckpoint, NeitherOldNorNew, UnnamedFailure
from .judge_sequence import without_places
from .judge_side_by_side import differing_ranks
from .verdict import Verdict, place_of
from .violations import NotRefused, Violation

__all__ = ["AtAnotherPlace", "HistoryBreach", "MemoryShows", "UnderAnotherName", "judge_history"]


class MemoryShows(Violation):
    """A save comes to something else than it does in processes that have done nothing before."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class UnderAnotherName(Violation):
    """A load reports success after a save that failed, and holds under one name what was saved under another."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class AtAnotherPlace(Violation):
    """A load reports success after a save that failed, and holds elements of a tensor at other places of it."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


@dataclass(frozen=True)
class HistoryBreach:
    """A law is broken at ``step``: how, in one line. ``verdict`` is that on the step by itself, where it is that.

    Of a load that may see one of several saves, and sees none, ``others`` are the verdicts for the rest of them.

    ``goes_without_caching`` says, if it was tried, that where no plans are cached it is not broken so, and until there
    in no way that is new; ``uncached`` is the same breach where it is broken so without caching too.
    """

    kind: type[Violation]
    headline: str
    history: History
    step: int
    outcome: HistoryOutcome
    detail: tuple[str, ...] = ()
    verdict: Verdict | None = None
    others: tuple[Verdict, ...] = ()
    goes_without_caching: bool = False
    uncached: HistoryBreach | None = None

    def violation(self) -> Violation:
        """The exception of the breach's kind, whose text tells the steps as a story."""
        where = f"step {self.step + 1} of {len(self.history.steps)}: {self.headline}"
        told = story(self.history, self.outcome, self.step)
        violation = self.kind("\n".join([where, "", *told, *self.detail]))
        fact = self.verdict.breach.fact if self.verdict is not None and self.verdict.breach is not None else ""
        steps = self.outcome.steps[self.step : self.step + 1]
        return violation.at(place_of(rank for step in steps for rank in step.operation.ranks), fact)


_Found = Iterator[HistoryBreach]


def judge_history(history: History, outcome: HistoryOutcome) -> tuple[HistoryBreach, ...]:
    """At each step the first law that is broken, if one is: so what is known of one step does not hide the next.

    What may be seen of a checkpoint is not asked any more after a save that reports success and breaks a law, or after
    one of another checkpoint that has changed its files. A pure function. Raises ``ValueError`` for an outcome that
    cannot be one of this history.
    """
    judge = _Judge(history, outcome)
    there = (index for index in history.order if index < len(outcome.steps))
    found = tuple(breach for index in there for breach in judge.step(index))
    ended = len(outcome.steps) < len(history.steps)
    if ended and all(breach.step != len(outcome.steps) - 1 for breach in found):
        raise ValueError("a history ended at a step at which nothing was wrong")
    return found


class _Judge:
    def __init__(self, history: History, outcome: HistoryOutcome) -> None:
        self._history = history
        self._outcome = outcome
        self._sights: dict[str, Sight] = {}

    def step(self, index: int) -> list[HistoryBreach]:
        """What is wrong first at the next step, if anything is; after it, what may be seen is up to date."""
        step, seen = self._history.steps[index], self._outcome.steps[index]
        sight = self._sights.get(step.at, NOTHING)
        found = list(itertools.islice(self._breaches(index, step, seen, sight), 1))
        if isinstance(step, Save) and not _is_to_be_refused(step, seen, sight) and not seen.failed_in_plan:
            returned = seen.operation.returned
            self._sights[step.at] = UNKNOWN if found and returned else sight.after(index, returned=returned)
        if any(breach.kind is EarlierChanged for breach in found):
            changed = {name.partition("/")[0] for name in seen.changed}
            self._sights.update(dict.fromkeys(changed, UNKNOWN))
        return found

    def _breaches(self, index: int, step: Step, seen: StepOutcome, sight: Sight) -> _Found:
        elsewhere = [name for name in seen.changed if isinstance(step, Load) or not name.startswith(f"{step.at}/")]
        if elsewhere:
            yield self._breach(index, EarlierChanged, f"the {step.name} changes files of another step: {elsewhere}")
        if isinstance(step, Save):
            refused = _is_to_be_refused(step, seen, sight)
            yield from self._refused(index, step, seen) if refused else self._save(index, step, seen)
        elif not sight.is_unknown:
            yield from self._load(index, seen, sight)
        elif not all(isinstance(rank, Returned | Raised) for rank in seen.operation.ranks):
            yield from self._by_itself(index, seen)

    def _breach(self, index: int, kind: type[Violation], headline: str, detail: tuple[str, ...] = ()) -> HistoryBreach:
        return HistoryBreach(kind, headline, self._history, index, self._outcome, detail)

    def _of_verdict(self, index: int, verdict: Verdict) -> HistoryBreach:
        assert verdict.breach is not None
        breach = self._breach(index, verdict.breach.kind, verdict.breach.headline, verdict.breach.detail)
        return replace(breach, verdict=verdict)

    def _refused(self, index: int, step: Save, seen: StepOutcome) -> _Found:
        if seen.operation.returned:
            yield self._breach(index, NotRefused, f"the save overwrites {step.at!r}, in spite of overwrite=False")
        if not _is_refused(seen):
            alone = judge_save(self._history.scenario(index), _alone(seen))
            if not alone:  # what is wrong with the save wherever it goes
                yield self._of_verdict(index, alone)
            who = "the save is refused, since overwrite=False, and not on every rank alike, naming every rank"
            yield self._breach(index, UnnamedFailure, who)
        if seen.changed:
            changed = f"the save is refused, since overwrite=False, and has changed {list(seen.changed)}"
            yield self._breach(index, EarlierChanged, changed)

    def _save(self, index: int, step: Save, seen: StepOutcome) -> _Found:
        scenario = self._history.scenario(index)
        if seen.failed_in_plan and seen.changed:
            yield self._breach(
                index, EarlierChanged, f"the save fails in its plan, and has changed {list(seen.changed)}"
            )
        if not is_race(scenario) and not _goes_by_what_is_there(step):
            by_place = lies_open(self._history.storage) and scenario.writer.thread_count == 1
            for difference in _differences(seen, by_place=by_place):
                yield self._breach(index, MemoryShows, f"the save does not come to what it does alone: {difference}")
        outcome = Outcome(seen.operation, None, seen.metadata, seen.metadata_error, seen.files)
        verdict = judge_save(scenario, outcome)
        if not verdict:
            yield self._of_verdict(index, verdict)

    def _load(self, index: int, seen: StepOutcome, sight: Sight) -> _Found:
        if sight.may_fail and _is_named(seen):
            return
        if not sight.saves:
            if seen.operation.returned:
                yield self._breach(index, NeitherOldNorNew, "the load succeeds where nothing was saved")
            # What a fault of its own does to a load outside the protected phases is judged as ever.
            yield from self._by_itself(index, seen)
            yield self._breach(
                index, UnnamedFailure, "the load does not fail on every rank alike, naming who could not"
            )
            return
        verdicts = {save: self._read_of(index, save, seen) for save in sorted(sight.saves)}
        if any(verdicts.values()):
            return
        if not sight.may_fail:
            yield from (self._of_verdict(index, verdict) for verdict in verdicts.values())
        elif seen.operation.returned:
            yield self._neither(index, seen, verdicts)
        else:
            yield self._of_verdict(index, verdicts[max(verdicts)])

    def _by_itself(self, index: int, seen: StepOutcome) -> _Found:
        """What is wrong with a load, whatever was saved."""
        verdict = judge_load(self._history.scenario(index), Outcome(seen.operation, seen.operation))
        if not verdict:
            yield self._of_verdict(index, verdict)

    def _read_of(self, load: int, save: int, seen: StepOutcome) -> Verdict:
        saved = self._outcome.steps[save]
        outcome = Outcome(saved.operation, seen.operation, saved.metadata, saved.metadata_error, saved.files)
        return judge_load(self._history.read_of(load, save), outcome)

    def _neither(self, index: int, seen: StepOutcome, verdicts: dict[int, Verdict]) -> HistoryBreach:
        """A load that succeeds, and holds neither what was saved before nor what was."""
        scenarios = {save: verdict.scenario for save, verdict in verdicts.items()}
        found = saves_seen(scenarios, seen.operation)
        detail = tuple(count_saves(found))
        several = {frozenset(saves) for counted in found.values() for saves in counted}
        if frozenset() not in several:
            steps = " and ".join(str(save + 1) for save in sorted(verdicts))
            return self._breach(index, MixedCheckpoint, f"the load succeeds, and mixes steps {steps}", detail)
        # What was not written at all may by chance be of another place, as with a dtype of two values.
        or_left = saves_seen(scenarios, seen.operation, or_left=True)
        written = not any(frozenset({LEFT}) in counted for counted in or_left.values())
        held = others_held(scenarios, seen.operation) if written else {}
        if held and all(held.values()):
            told = f"the load succeeds, and holds elements of {', '.join(held)} at other places than they were saved"
            return self._breach(index, AtAnotherPlace, told, detail)
        if held:
            told = f"the load succeeds, and holds under {', '.join(held)} what was saved under another name"
            return replace(self._breach(index, UnderAnotherName, told, detail), others=tuple(verdicts.values()))
        last = max(verdicts)
        others = tuple(verdict for save, verdict in verdicts.items() if save != last)
        return replace(self._of_verdict(index, verdicts[last]), others=others)


def _is_to_be_refused(step: Save, seen: StepOutcome, sight: Sight) -> bool:
    """Whether a checkpoint is there that must not be overwritten; where that is not sure, whether it was refused."""
    return not step.overwrite and (sight.is_whole or _is_refused(seen))


def _goes_by_what_is_there(step: Save) -> bool:
    """Whether an operation on a file fails that is asked for, or matters, only where nothing, or something, is."""
    return any(fault.call in ("directory.mkdir", "metadata.remove") for fault in step.file_faults)


def _is_refused(seen: StepOutcome) -> bool:
    """Whether every rank says of every rank that it refuses, before anything is written."""
    ranks = set(range(len(seen.operation.ranks)))
    return _is_named(seen) and all(
        isinstance(rank, Raised) and rank.phase == "plan" and {who for who, _ in rank.failures or ()} == ranks
        for rank in seen.operation.ranks
    )


def _is_named(seen: StepOutcome) -> bool:
    """Whether the operation failed on every rank with the same exception, which says who failed."""
    said = {(rank.phase, rank.failures) if isinstance(rank, Raised) else None for rank in seen.operation.ranks}
    return len(said) == 1 and all(one is not None and bool(one[1]) for one in said)


def _alone(seen: StepOutcome) -> Outcome:
    """What came of a save alone."""
    if seen.alone is None:
        raise ValueError("a save was not run alone")
    return seen.alone.outcome


def _differences(seen: StepOutcome, *, by_place: bool) -> Iterator[str]:
    """How a save differs from itself alone; ``by_place`` says that it is no race, and known, what goes where."""
    alone = _alone(seen)
    for rank in differing_ranks(alone.save, seen.operation):
        yield f"rank {rank} does not see the same"
    if by_place and seen.alone is not None:
        here, there = dict(seen.contents), dict(seen.alone.contents)
        yield from (f"there is no file {name!r}" for name in there if name not in here)
        yield from (f"{name!r} holds other bytes" for name in there if here.get(name, there[name]) != there[name])
        changed = [name.partition("/")[2] for name in seen.changed]
        # What a failing save takes away is no more there than where nothing was.
        yield from (f"it writes {name!r}, too" for name in changed if name in here and name not in there)
    if not seen.operation.returned:
        return
    one, other = alone.metadata, seen.metadata
    if not by_place:
        one, other = without_places(one), without_places(other)
    if one != other:
        yield "the metadata are others"
