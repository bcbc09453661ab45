"""Judges who failed: deadlocks, lost and wrong blame, disagreement between ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from worlds.errors import NEVER_ARRIVES
from worlds.faults import Fault
from worlds.outcome import Deadlocked, Died, ErrorRecord, OperationOutcome, Raised
from worlds.request_faults import RequestFault
from worlds.scenario import Scenario

from .file_reach import may_be_got_over
from .oracle import OperationExpectation, Stage, mentions_fault, names_fault, names_refusal
from .reach import REFUSAL, refusals
from .verdict import Breach
from .violations import (
    Deadlock,
    Disagreement,
    LostFailure,
    NotRefused,
    PassedFailure,
    RankDied,
    UnexpectedFailure,
    UnprotectedFailure,
    WrongException,
    WrongPhase,
    WrongRanks,
)

__all__ = ["judge_agreed", "judge_blame", "judge_ended", "judge_none_failed"]

Name = Literal["save", "load"]


def judge_blame(
    scenario: Scenario, name: Name, expectation: OperationExpectation, outcome: OperationOutcome
) -> Iterator[Breach]:
    """What is wrong with how the operation ended, the most fundamental first; nothing if it ended as it must."""
    yield from judge_ended(name, outcome)
    reached = _reached(scenario, outcome)
    stage = next((stage for stage in expectation.stages if _fails(stage, reached)), None)
    if stage is None:
        yield from judge_none_failed(name, outcome)
        return
    yield from _failed_otherwise(scenario, name, stage, reached, outcome)
    yield from _went_on(scenario, name, stage, reached, outcome)
    yield from _all_raised(scenario, name, stage, outcome)
    yield from judge_agreed(name, outcome)
    for rank, seen in enumerate(outcome.ranks):
        if isinstance(seen, Raised) and seen.failures is not None:
            yield from _blamed(scenario, name, stage, reached, rank, seen)
    yield from _nothing_after(scenario, name, expectation, stage, reached)


def _reached(scenario: Scenario, outcome: OperationOutcome) -> set[int]:
    """The faults that were reached, but for failures of operations on files that were rightly got over."""
    reached = {hit.index for hit in outcome.hits}
    named = [failure for seen in outcome.ranks if isinstance(seen, Raised) for failure in seen.failures or ()]
    for index, fault in enumerate(scenario.file_faults):
        blamed = any(rank == fault.rank and names_fault(scenario, index, error) for rank, error in named)
        if may_be_got_over(scenario, fault) and not blamed:
            reached.discard(index)
    return reached


def _fails(stage: Stage, reached: set[int]) -> bool:
    return bool(stage.certain or stage.one_of) or any(
        reached.intersection(faults) for faults in stage.possible.values()
    )


def _must_be_named(stage: Stage, reached: set[int]) -> dict[int, tuple[int, ...]]:
    possible = {rank: faults for rank, faults in stage.possible.items() if reached.intersection(faults)}
    return {**stage.certain, **possible}


def judge_ended(name: Name, outcome: OperationOutcome) -> Iterator[Breach]:
    """Ranks that wait for ever, or have died."""
    stuck = {rank: seen.waiting for rank, seen in enumerate(outcome.ranks) if isinstance(seen, Deadlocked)}
    if stuck:
        first = min(stuck)
        who = f"rank {first} waits" if len(stuck) == 1 else f"rank {first} and {len(stuck) - 1} more wait"
        yield Breach(Deadlock, f"{name}: {who} for ever in {stuck[first]}", name)
    for rank, seen in enumerate(outcome.ranks):
        if isinstance(seen, Died):
            yield Breach(RankDied, f"{name}: rank {rank} died: {seen.reason}", name)


def judge_none_failed(name: Name, outcome: OperationOutcome) -> Iterator[Breach]:
    """Ranks that raised, where none should fail."""
    for rank, seen in enumerate(outcome.ranks):
        if isinstance(seen, Raised):
            if seen.failures:
                culprit, error = seen.failures[0]
                what = f"rank {culprit} is blamed for {error.type}: {error.message}"
            else:
                what = f"rank {rank} raised {seen.error.type}: {seen.error.message}"
            yield Breach(UnexpectedFailure, f"{name}: failed although no rank should fail: {what}", name)


def _failed_otherwise(
    scenario: Scenario, name: Name, stage: Stage, reached: set[int], outcome: OperationOutcome
) -> Iterator[Breach]:
    """Something failed that nobody made fail, so that what should have failed was never reached."""
    mine = {index for faults in {**stage.possible, **stage.certain}.values() for index in faults}
    for seen in outcome.ranks:
        if not isinstance(seen, Raised) or not seen.failures:
            continue
        if any(mentions_fault(error) for _, error in seen.failures):
            continue
        # One of another stage, which is another breach, or in the right phase one of this stage.
        made = reached - mine if stage.phase not in (None, seen.phase) else reached | mine
        if any(_is_cause(scenario, name, rank, index, error) for rank, error in seen.failures for index in made):
            continue
        culprit, error = seen.failures[0]
        what = f"rank {culprit} is blamed for {error.type}: {error.message}"
        yield Breach(UnexpectedFailure, f"{name}: failed in {seen.phase!r}, where no rank should: {what}", name)


def _went_on(
    scenario: Scenario, name: Name, stage: Stage, reached: set[int], outcome: OperationOutcome
) -> Iterator[Breach]:
    """What had to be refused was taken, so that a fault was come to that lies behind it."""
    named = [(rank, error) for seen in outcome.ranks if isinstance(seen, Raised) for rank, error in seen.failures or ()]
    refusing = [rank for rank, faults in stage.certain.items() if REFUSAL in faults]
    causes = {index for faults in {**stage.possible, **stage.certain}.values() for index in faults}
    if not refusing or causes & reached or any(names_refusal(scenario, name, *blamed) for blamed in named):
        return
    for rank, error in named:
        if any(names_fault(scenario, index, error) for index in reached):
            what = _failure_text(scenario, name, min(refusing), REFUSAL)
            said = f"rank {rank} is blamed for what comes later: {error.type}: {error.message}"
            yield Breach(NotRefused, f"{name}: {what}, and {said}", name)


def _is_cause(scenario: Scenario, name: Name, rank: int, index: int, error: ErrorRecord) -> bool:
    """Whether that fault, or a refusal, of the rank raises this exception."""
    if index == REFUSAL:
        return names_refusal(scenario, name, rank, error)
    fault = scenario.all_faults[index]
    # What stands for an exception that never arrives can be anything, so it must at least be on the rank that raised.
    return names_fault(scenario, index, error) and (fault.rank == rank or fault.error not in NEVER_ARRIVES)


def _failure_text(scenario: Scenario, name: Name, rank: int, index: int) -> str:
    if index == REFUSAL:
        return f"rank {rank} must refuse {refusals(scenario, name)[rank][0]!r}"
    fault = scenario.all_faults[index]
    if isinstance(fault, RequestFault):
        return f"rank {rank} failed, whose {fault.hook} was {fault.error}"
    how = f", through the {fault.through}" if isinstance(fault, Fault) else f" at call {fault.skip}" * (fault.skip > 0)
    return f"rank {rank} failed in {fault.hook} ({fault.error}{how})"


def _all_raised(scenario: Scenario, name: Name, stage: Stage, outcome: OperationOutcome) -> Iterator[Breach]:
    ranks = sorted(stage.certain) or sorted(stage.possible)
    first = {**stage.possible, **stage.certain}[ranks[0]][0]
    what = _failure_text(scenario, name, ranks[0], first)
    lost = NotRefused if first == REFUSAL else LostFailure
    if outcome.returned:
        yield Breach(lost, f"{name}: {what}, and {name}() returned on every rank", name)
    for rank, seen in enumerate(outcome.ranks):
        if isinstance(seen, Raised) and seen.failures is None:
            said = f"rank {rank} raised {seen.error.type}, which names nobody"
            yield Breach(UnprotectedFailure, f"{name}: {what}, and {said}", name)
    for rank, seen in enumerate(outcome.ranks):
        if not isinstance(seen, Raised):
            yield Breach(lost, f"{name}: {what}, and {name}() returned on rank {rank}", name)


def judge_agreed(name: Name, outcome: OperationOutcome) -> Iterator[Breach]:
    """Ranks that raised something else than rank 0."""
    seen = [(rank.phase, rank.failures) for rank in outcome.ranks if isinstance(rank, Raised)]
    for rank, what in enumerate(seen):
        if what != seen[0]:
            yield Breach(Disagreement, f"{name}: ranks 0 and {rank} do not raise the same", name)


def _blamed(
    scenario: Scenario, name: Name, stage: Stage, reached: set[int], rank: int, seen: Raised
) -> Iterator[Breach]:
    failures = dict(seen.failures or ())
    must = _must_be_named(stage, reached)
    for failed, faults in sorted(must.items()):
        if failed not in failures:
            what = _failure_text(scenario, name, failed, faults[0])
            kind = NotRefused if faults[0] == REFUSAL else LostFailure
            yield Breach(kind, f"{name}: {what}, and rank {rank} is not told of it", name)
    allowed = {**stage.possible, **stage.certain}
    for blamed, error in sorted(failures.items()):
        if blamed not in must:
            said = f"{error.type}: {error.message}"
            yield Breach(WrongRanks, f"{name}: rank {blamed}, which did not fail, is blamed for {said}", name)
    for one_of in stage.one_of:
        if not one_of.intersection(failures):
            yield Breach(LostFailure, f"{name}: none of the ranks {sorted(one_of)} is named, of which one failed", name)
    if stage.phase is not None and seen.phase != stage.phase:
        yield Breach(WrongPhase, f"{name}: a failure in {stage.phase!r} is reported for {seen.phase!r}", name)
    for blamed, error in sorted(failures.items()):
        causes = allowed.get(blamed, ())
        if not any(_is_cause(scenario, name, blamed, index, error) for index in causes):
            raised = " or ".join(_failure_text(scenario, name, blamed, index) for index in causes) or "nothing"
            said = f"{error.type}: {error.message}"
            # What should have been refused was taken, and the rank came to a fault behind it.
            went_on = REFUSAL in causes and any(names_fault(scenario, index, error) for index in reached)
            wrong = NotRefused if went_on else WrongException
            yield Breach(wrong, f"{name}: {raised}, and rank {blamed} is blamed for {said}", name)


def _nothing_after(
    scenario: Scenario, name: Name, expectation: OperationExpectation, stage: Stage, reached: set[int]
) -> Iterator[Breach]:
    later = expectation.stages[expectation.stages.index(stage) + 1 :]
    for follower in later:
        for rank, faults in {**follower.certain, **follower.possible}.items():
            for index in faults:
                if index in reached and index != REFUSAL:
                    hook = scenario.all_faults[index].hook
                    yield Breach(
                        PassedFailure,
                        f"{name}: {hook} ran on rank {rank}, although {stage.phase or 'what comes before'} had failed",
                        name,
                    )
