"""Judges what is left when ranks die: those that survive, an earlier checkpoint, and what a later load finds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn

from worlds.concise import pretty
from worlds.entries import ObjectEntry, TensorEntry
from worlds.killed import KilledOutcome, KilledScenario
from worlds.objects import make_object
from worlds.older import OLD_BITS, OLD_OBJECT
from worlds.outcome import ChunkState, Deadlocked, Died, ObjectState, OperationOutcome, Raised, Returned, TensorState
from worlds.parts import Box
from worlds.state import object_state
from worlds.values import expected_bytes

from .verdict import describe_ranks, place_of, rank_text
from .violations import RankDied, Violation

__all__ = ["KilledBreach", "MixedCheckpoint", "judge_killed"]


class SurvivorWaits(Violation):
    """A rank waits on, although the timeout of its group is long over, for one that has died."""

    law = "no deadlock"

    def throw(self) -> NoReturn:
        raise self


class SuccessWithoutRank(Violation):
    """An operation reports success on a rank, although another one died before it had done its part."""

    law = "blame"

    def throw(self) -> NoReturn:
        raise self


class EarlierChanged(Violation):
    """Files of a checkpoint are not as they were, although nothing was to be written there."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class MixedCheckpoint(Violation):
    """A load reports success, and holds values of two saves, in the later of which a rank died or failed."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class NeitherOldNorNew(Violation):
    """A load reports success after a rank died or failed in the save, and holds what nobody has saved there."""

    law = "round trip"

    def throw(self) -> NoReturn:
        raise self


class UnnamedFailure(Violation):
    """A load of what a failed save has left fails, and not on every rank with the same ``CheckpointException``."""

    law = "blame"

    def throw(self) -> NoReturn:
        raise self


@dataclass(frozen=True)
class KilledBreach:
    """A law is broken: how, in one line, and the violation to raise, with the whole text."""

    kind: type[Violation]
    headline: str
    killed: KilledScenario
    outcome: KilledOutcome

    def violation(self) -> Violation:
        """The exception of the breach's kind."""
        lines = [self.headline, "", *f"killed = {pretty(self.killed)}".splitlines(), ""]
        for name, operation in ((self.killed.operation, self.outcome.operation), ("later", self.outcome.later)):
            if operation is not None:
                groups = describe_ranks(operation.ranks, rank_text)
                lines += [f"seen      {name}: {ranks}: {text}" for ranks, text in groups]
        seen = self.outcome.later or self.outcome.operation
        return self.kind("\n".join(lines)).at("" if seen is None else place_of(seen.ranks))


def judge_killed(killed: KilledScenario, outcome: KilledOutcome) -> KilledBreach | None:
    """The first law that is broken, or ``None``.

    Whether a save succeeds in which no rank came to die is for other laws, and so is an earlier save that failed.
    """
    if outcome.operation is None or outcome.later is None:
        if outcome.before.returned:
            raise ValueError("a save returned, and what comes next was not done")
        return None
    for kind, headline in _breaches(killed, outcome, outcome.operation, outcome.later):
        return KilledBreach(kind, headline, killed, outcome)
    return None


_Breaches = Iterator[tuple[type[Violation], str]]


def _breaches(
    killed: KilledScenario, outcome: KilledOutcome, operation: OperationOutcome, later: OperationOutcome
) -> _Breaches:
    yield from _survivors(killed, outcome, operation)
    if outcome.earlier_changed:
        yield EarlierChanged, f"{killed.operation}: files of another checkpoint changed: {outcome.earlier_changed}"
    yield from _later(killed, outcome, operation, later)


def _survivors(killed: KilledScenario, outcome: KilledOutcome, operation: OperationOutcome) -> _Breaches:
    dead = {killed.kills[number].rank for number in outcome.died}
    for rank, seen in enumerate(operation.ranks):
        who = f"{killed.operation}: rank {rank}"
        if isinstance(seen, Deadlocked):
            yield SurvivorWaits, f"{who} still waits in {seen.waiting}, long after its group's timeout"
        if isinstance(seen, Died) and (rank not in dead or seen.reason != "killed by SIGKILL"):
            yield RankDied, f"{who} was not to die: {seen.reason}"
        if isinstance(seen, Returned) and dead:
            yield SuccessWithoutRank, f"{who} reports success, although rank {min(dead)} died before it was done"


def _later(
    killed: KilledScenario, outcome: KilledOutcome, operation: OperationOutcome, later: OperationOutcome
) -> _Breaches:
    failed = [seen for seen in later.ranks if isinstance(seen, Raised)]
    if killed.operation == "load" and failed:
        yield EarlierChanged, "later: a load fails of a checkpoint that ranks died loading"
    if failed:
        said = {(seen.phase, seen.failures) for seen in failed}
        if len(failed) < len(later.ranks) or not failed[0].failures or len(said) > 1:
            yield UnnamedFailure, "later: the load does not fail on all ranks alike, naming who could not load"
        return
    found: set[str] = set()
    for rank, seen in enumerate(later.ranks):
        if not isinstance(seen, Returned):
            yield SurvivorWaits, f"later: rank {rank} of the load neither returned nor raised"
            return
        found |= _generations(killed, seen)
    if "neither" in found:
        yield NeitherOldNorNew, "later: the load succeeds, and holds values that nobody has saved"
    if {"old", "new"} <= found:
        yield MixedCheckpoint, "later: the load succeeds, and holds values of two saves"
    only_new = killed.operation == "load" or killed.path == "another" or operation.returned
    if only_new and "old" in found:
        yield NeitherOldNorNew, "later: the load succeeds, and holds older values than were saved there"


Generation = Literal["old", "new", "neither"]


def _generations(killed: KilledScenario, seen: Returned) -> set[Generation]:
    """Of which saves a rank holds something. What is equal in both, or empty, tells nothing."""
    entries = {leaf.path: leaf.entry for leaf in killed.scenario.leaves("load")}
    found: set[Generation] = set()
    for state in seen.state:
        entry = entries[state.path]
        if isinstance(state, TensorState) and isinstance(entry, TensorEntry):
            for chunk in state.chunks:
                found |= _of_chunk(str(state.path[0]), entry, chunk)
        elif isinstance(state, ObjectState) and isinstance(entry, ObjectEntry):
            found.add(_of_object(entry, state))
        else:
            found.add("neither")
    return found


def _of_chunk(fqn: str, entry: TensorEntry, chunk: ChunkState) -> set[Generation]:
    if not math.prod(chunk.sizes):
        return set()
    new = expected_bytes(fqn, entry, Box(chunk.offsets, chunk.sizes))
    old = bytes(byte ^ (1 if entry.dtype == "bool" else OLD_BITS) for byte in new)
    width = len(new) // math.prod(chunk.sizes)
    found: set[Generation] = set()
    for start in range(0, len(new), width):
        part = slice(start, start + width)
        found.add("new" if chunk.data[part] == new[part] else "old" if chunk.data[part] == old[part] else "neither")
    return found


def _of_object(entry: ObjectEntry, state: ObjectState) -> Generation:
    if state.text == object_state(state.path, make_object(entry)).text:
        return "new"
    return "old" if state.text == repr(OLD_OBJECT) else "neither"
