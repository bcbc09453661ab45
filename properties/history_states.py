"""Of which saves a rank holds something after a load: element by element, against what each of them has saved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from worlds.dtypes import DTYPES
from worlds.outcome import ChunkState, EntryState, ObjectState, OperationOutcome, Returned, TensorState
from worlds.parts import Box
from worlds.scenario import Scenario
from worlds.state_tree import path_text

from .expected_state import ExpectedState, ExpectedTensor, expected_state

__all__ = ["count_saves", "names_that_hold_others", "saves_seen"]

Counted = Counter[frozenset[int]]
"""How many elements, or objects, could be of which saves; those of none have the empty set."""

_Content = tuple[str, str | bytes]
"""The dtype and the bytes of an element, or the type and the text of an object."""


def saves_seen(candidates: Mapping[int, Scenario], load: OperationOutcome) -> dict[tuple[str, int], Counted]:
    """By the name of an entry and the rank, of which of the ``candidates`` it could be, each a load of one save."""
    found: dict[tuple[str, int], Counted] = {}
    for rank, seen in enumerate(load.ranks):
        if isinstance(seen, Returned):
            wanted = {
                save: {state.path: state for state in expected_state(scenario, "load", rank)}
                for save, scenario in candidates.items()
            }
            for state in seen.state:
                here = {save: states[state.path] for save, states in wanted.items()}
                found[path_text(state.path), rank] = _of_entry(here, state)
    return found


def names_that_hold_others(candidates: Mapping[int, Scenario], load: OperationOutcome) -> list[str]:
    """The names under which a rank holds what none of the ``candidates`` has saved there; nothing if any is of nowhere.

    That is, unless each element and each object of that kind is what one of them has saved under some name, with that
    dtype or type.
    """
    saved = {content for scenario in candidates.values() for content in _all_saved(scenario)}
    seen = saves_seen(candidates, load)
    found: dict[str, bool] = {}
    for rank, outcome in enumerate(load.ranks):
        for state in outcome.state if isinstance(outcome, Returned) else ():
            name = path_text(state.path)
            if frozenset() in seen[name, rank]:
                found[name] = found.get(name, True) and all(one in saved for one in _held(state))
    return list(found) if all(found.values()) else []


def _all_saved(scenario: Scenario) -> Iterator[_Content]:
    for rank in range(scenario.save.world_size):
        for state in expected_state(scenario, "save", rank):
            if isinstance(state, ObjectState):
                yield state.type, state.text
            elif isinstance(state, ExpectedTensor):
                entry = state.entry
                whole = state.bytes_of(Box((0,) * len(entry.shape), entry.shape))
                yield from ((entry.dtype, element) for element in _elements(entry.dtype, whole))


def _held(state: EntryState) -> Iterator[_Content]:
    if isinstance(state, ObjectState):
        yield state.type, state.text
    elif isinstance(state, TensorState):
        for chunk in state.chunks:
            yield from ((state.dtype, element) for element in _elements(state.dtype, chunk.data))


def _elements(dtype: str, data: bytes) -> Iterator[bytes]:
    width = DTYPES[dtype].itemsize
    return (data[start : start + width] for start in range(0, len(data), width))


def count_saves(found: Mapping[tuple[str, int], Counted]) -> Iterator[str]:
    """A line for each entry on each rank, with steps counted from one."""
    for (name, rank), counted in found.items():
        parts = [
            f"{count} of {_steps(saves)}" for saves, count in sorted(counted.items(), key=lambda one: sorted(one[0]))
        ]
        if parts:
            yield f"holds     {name} on rank {rank}: {', '.join(parts)}"


def _steps(saves: frozenset[int]) -> str:
    if not saves:
        return "no step"
    return f"step{'s' if len(saves) > 1 else ''} {' and '.join(str(save + 1) for save in sorted(saves))}"


def _of_entry(wanted: Mapping[int, ExpectedState], seen: EntryState) -> Counted:
    if isinstance(seen, ObjectState):
        return Counter([frozenset(save for save, state in wanted.items() if state == seen)])
    counted: Counted = Counter()
    tensors = {save: state for save, state in wanted.items() if isinstance(state, ExpectedTensor)}
    if isinstance(seen, TensorState):
        for chunk in seen.chunks:
            counted += _of_chunk(tensors, seen, chunk)
    return counted


def _of_chunk(wanted: Mapping[int, ExpectedTensor], seen: TensorState, chunk: ChunkState) -> Counted:
    if not math.prod(chunk.sizes):
        return Counter()
    width = DTYPES[seen.dtype].itemsize
    right = {save: tensor.bytes_of(Box(chunk.offsets, chunk.sizes)) for save, tensor in wanted.items()}
    parts = (slice(start, start + width) for start in range(0, len(chunk.data), width))
    return Counter(frozenset(save for save, data in right.items() if data[part] == chunk.data[part]) for part in parts)
