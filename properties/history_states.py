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

__all__ = ["count_saves", "saves_seen"]

Counted = Counter[frozenset[int]]
"""How many elements, or objects, could be of which saves; those of none have the empty set."""


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
