"""Judges what is made of a checkpoint alone: every rank that reads has all that was saved, or what it asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from worlds.concise import pretty
from worlds.entries import Path
from worlds.outcome import (
    ContainerState,
    Deadlocked,
    EntryState,
    ObjectState,
    OperationOutcome,
    Raised,
    Returned,
    TensorState,
)
from worlds.rebuilding import Rebuilding, RebuildingOutcome
from worlds.state_tree import path_text, units

from .expected_rebuilding import DEVIATIONS, Deviation, expected_rebuilding, paths_of_local_tensors
from .verdict import describe_ranks, place_of, rank_text
from .violations import (
    Deadlock,
    NotRefused,
    UnexpectedFailure,
    Violation,
    WrongBits,
    WrongKeys,
    WrongObject,
    WrongTensor,
)

__all__ = ["RebuildingBreach", "judge_rebuilding"]

State = Mapping[Path, EntryState]


@dataclass(frozen=True)
class RebuildingBreach:
    """What is wrong with what was rebuilt: the kind, one line, and what came of it.

    ``deviations`` say in which known ways together it differs on every rank, and in nothing else; empty where that is
    not all.
    """

    kind: type[Violation]
    headline: str
    rebuilding: Rebuilding
    read: OperationOutcome
    detail: tuple[str, ...] = ()
    deviations: frozenset[Deviation] = frozenset()

    def violation(self) -> Violation:
        """The exception, with the whole text."""
        lines = [self.headline, "", *f"rebuilding = {pretty(self.rebuilding)}".splitlines(), ""]
        wanted = "everything" if self.rebuilding.keys is None else ", ".join(map(repr, self.rebuilding.keys))
        lines.append(f"expected  every rank that reads holds {wanted} of what was saved")
        lines += [f"seen      {ranks}: {text}" for ranks, text in describe_ranks(self.read.ranks, rank_text)]
        return self.kind("\n".join([*lines, *self.detail])).at(place_of(self.read.ranks))


def judge_rebuilding(rebuilding: Rebuilding, outcome: RebuildingOutcome) -> RebuildingBreach | None:
    """The first thing that is wrong, or ``None``; a save that failed is judged by other laws."""
    read = outcome.read
    if (read is not None) != outcome.save.returned:
        raise ValueError("a checkpoint is read if, and only if, its save returned on every rank")
    if read is None:
        return None
    if len(read.ranks) != rebuilding.reader.world_size:
        raise ValueError(f"{rebuilding.reader.world_size} ranks read, and the outcome has {len(read.ranks)}")
    if _is_refused(rebuilding):
        return _judge_refusal(rebuilding, read)
    breach = next(_breaches(rebuilding, read), None)
    if breach is None or not read.returned:
        return breach
    return replace(breach, deviations=_deviations(rebuilding, read))


def _names_twice(rebuilding: Rebuilding) -> set[str]:
    """The names that two things have once every container is gone into."""
    counts = Counter(unit.fqn for unit in units(rebuilding.scenario.entries, "save"))
    return {name for name, count in counts.items() if count > 1}


def _is_refused(rebuilding: Rebuilding) -> bool:
    """Whether what was saved has names that ``torch_save_to_dcp``, which has no options, cannot tell apart."""
    return rebuilding.by == "there_and_back" and bool(_names_twice(rebuilding))


def _judge_refusal(rebuilding: Rebuilding, read: OperationOutcome) -> RebuildingBreach | None:
    (seen,) = read.ranks
    if isinstance(seen, Raised) and seen.phase == "plan" and seen.failures:
        names = _names_twice(rebuilding)
        if all(rank == 0 and any(name in error.message for name in names) for rank, error in seen.failures):
            return None
    what = f"{rebuilding.by}: two entries have one name, and rank 0 {rank_text(seen)}"
    return RebuildingBreach(NotRefused, what, rebuilding, read)


def _breaches(rebuilding: Rebuilding, read: OperationOutcome) -> Iterator[RebuildingBreach]:
    for rank, seen in enumerate(read.ranks):
        if isinstance(seen, Deadlocked):
            yield RebuildingBreach(Deadlock, f"{rebuilding.by}: rank {rank} {rank_text(seen)}", rebuilding, read)
        elif not isinstance(seen, Returned):
            yield RebuildingBreach(
                UnexpectedFailure, f"{rebuilding.by}: rank {rank} {rank_text(seen)}", rebuilding, read
            )
    for rank, seen in enumerate(read.ranks):
        if isinstance(seen, Returned):
            for kind, what, detail in _differences(expected_rebuilding(rebuilding, rank), _held(seen)):
                yield RebuildingBreach(kind, f"{rebuilding.by}: rank {rank}: {what}", rebuilding, read, detail)


def _deviations(rebuilding: Rebuilding, read: OperationOutcome) -> frozenset[Deviation]:
    """The fewest known deviations that tell exactly what every rank holds, if any do."""
    held = [_held(seen) for seen in read.ranks if isinstance(seen, Returned)]
    local_on = _local_on(rebuilding, held[0])
    for count in range(1, len(DEVIATIONS) + 1):
        for some in map(frozenset, combinations(DEVIATIONS, count)):
            if all(expected_rebuilding(rebuilding, rank, some, local_on) == state for rank, state in enumerate(held)):
                return some
    return frozenset()


def _local_on(rebuilding: Rebuilding, held: State) -> dict[Path, int]:
    """Where a local tensor may be in the place of a whole one: the rank whose it is that is held, if it is any's."""
    paths = paths_of_local_tensors(rebuilding)
    seen = {_as_text(path): _content(state) for path, state in held.items()}
    found: dict[Path, int] = {}
    for rank in range(rebuilding.scenario.save.world_size if paths else 0):
        expected = expected_rebuilding(rebuilding, 0, frozenset(["local tensors"]), dict.fromkeys(paths, rank))
        for path in paths:
            if path in expected and _content(expected[path]) == seen.get(_as_text(path)):
                found.setdefault(path, rank)
    return found


def _as_text(path: Path) -> tuple[str, ...]:
    return tuple(map(str, path))


def _content(state: EntryState) -> EntryState:
    return replace(state, path=())


def _held(seen: Returned) -> dict[Path, EntryState]:
    return {state.path: _bare(state) for state in seen.state}


def _bare(state: EntryState) -> EntryState:
    """Without what a template would be needed for: whether it is still the same object."""
    if isinstance(state, ContainerState):
        return ContainerState(state.path, "dict" if state.type == "OrderedDict" else state.type)
    return replace(state, in_place=True, guards_intact=True) if isinstance(state, TensorState) else state


def _differences(expected: State, seen: State) -> Iterator[tuple[type[Violation], str, tuple[str, ...]]]:
    if expected.keys() != seen.keys():
        holds, should = (", ".join(sorted(map(path_text, state))) or "nothing" for state in (seen, expected))
        yield WrongKeys, f"holds {holds}, and should hold {should}", ()
        return
    for path, wanted in expected.items():
        got = seen[path]
        if wanted == got:
            continue
        name = path_text(path)
        lines = (f"expected  {_text(wanted)}", f"seen      {_text(got)}")
        if not isinstance(wanted, TensorState):
            yield WrongObject, f"{name} is not the object that was saved", lines
        elif not isinstance(got, TensorState) or (wanted.dtype, wanted.shape) != (got.dtype, got.shape):
            yield WrongTensor, f"{name} is another tensor than the one that was saved", lines
        else:
            yield WrongBits, f"{name} has other elements than were saved", lines


def _text(state: EntryState) -> str:
    match state:
        case ObjectState(_, kind, text):
            return f"{kind} {text}"
        case ContainerState(_, kind):
            return f"a {kind}"
        case TensorState():
            return f"{state.dtype} {state.shape} {' '.join(chunk.data.hex() for chunk in state.chunks)}"
