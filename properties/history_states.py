"""Of which saves a rank holds something after a load: element by element, against what each of them has saved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import torch

from worlds.dtypes import DTYPES
from worlds.outcome import ChunkState, EntryState, ObjectState, OperationOutcome, Returned, TensorState
from worlds.parts import Box
from worlds.scenario import Scenario
from worlds.state_tree import path_text
from worlds.values import poison_bytes, tensor_bytes

from .expected_state import ExpectedState, ExpectedTensor, expected_state

__all__ = ["LEFT", "ZERO", "count_saves", "others_held", "saves_seen"]

Counted = Counter[frozenset[int]]
"""How many elements, or objects, could be of which saves; those of none have the empty set."""


def saves_seen(
    candidates: Mapping[int, Scenario], load: OperationOutcome, *, or_left: bool = False, zero: Collection[str] = ()
) -> dict[tuple[str, int], Counted]:
    """By the name of an entry and the rank, of which of the ``candidates`` it could be, each a load of one save.

    With ``or_left``, what the load has left in a tensor as it was is of one more, which has the number ``LEFT``; and in
    the tensors whose names are in ``zero``, what is zero is of ``ZERO``.
    """
    found: dict[tuple[str, int], Counted] = {}
    for rank, seen in enumerate(load.ranks):
        if isinstance(seen, Returned):
            wanted = {
                save: {state.path: state for state in expected_state(scenario, "load", rank)}
                for save, scenario in candidates.items()
            }
            if or_left:
                wanted[LEFT] = {path: _left(state) for states in wanted.values() for path, state in states.items()}
            for state in seen.state:
                here = {save: states[state.path] for save, states in wanted.items()}
                if ".".join(map(str, state.path)) in zero:
                    here[ZERO] = _zero(next(iter(here.values())))
                found[path_text(state.path), rank] = _of_entry(here, state)
    return found


LEFT, ZERO = -1, -2
"""In the place of the number of a save."""


def _zero(state: ExpectedState) -> ExpectedState:
    if not isinstance(state, ExpectedTensor):
        return state
    width = DTYPES[state.entry.dtype].itemsize
    return replace(state, content=state.entry, find=lambda _, __, box: bytes(math.prod(box.sizes) * width))


def _left(state: ExpectedState) -> ExpectedState:
    return replace(state, find=poison_bytes) if isinstance(state, ExpectedTensor) else state


def others_held(candidates: Mapping[int, Scenario], load: OperationOutcome) -> dict[str, bool]:
    """The names under which a rank holds what none of the ``candidates`` has saved there; nothing if any is of nowhere.

    That is, unless each element and each object of that kind is what one of them has saved under some name: with that
    type, or with any dtype and copied into that one, as a load does. It is said whether that is the same name, so that
    elements are at another place of it, and could be no other one.
    """
    saved = [state for scenario in candidates.values() for state in _all_saved(scenario)]
    contents, seen = _Contents(saved), saves_seen(candidates, load)
    found: dict[str, bool] = {}
    for rank, outcome in enumerate(load.ranks):
        for state in outcome.state if isinstance(outcome, Returned) else ():
            name = path_text(state.path)
            if frozenset() not in seen[name, rank]:
                continue
            if not contents.have(state):
                return {}
            own, others = (
                _Contents([one for one in saved if (one.path == state.path) is here]) for here in (True, False)
            )
            found[name] = found.get(name, True) and own.have(state) and not others.have(state)
    return found


def _all_saved(scenario: Scenario) -> Iterator[ExpectedState]:
    for rank in range(scenario.save.world_size):
        yield from expected_state(scenario, "save", rank)


class _Contents:
    """The objects and the elements of all that was saved, whatever their names."""

    def __init__(self, saved: list[ExpectedState]) -> None:
        self._objects = {(state.type, state.text) for state in saved if isinstance(state, ObjectState)}
        tensors = [state for state in saved if isinstance(state, ExpectedTensor)]
        self._tensors = {(one.entry.dtype, _whole(one)) for one in tensors}
        self._elements: dict[str, set[bytes]] = {}

    def have(self, state: EntryState) -> bool:
        """Whether all that is held there is among them."""
        if isinstance(state, ObjectState):
            return (state.type, state.text) in self._objects
        if not isinstance(state, TensorState):
            return True
        elements = self._of_dtype(state.dtype)
        return all(element in elements for chunk in state.chunks for element in _elements(state.dtype, chunk.data))

    def _of_dtype(self, dtype: str) -> set[bytes]:
        if dtype not in self._elements:
            copied = (_copied(saved, data, dtype) for saved, data in self._tensors)
            self._elements[dtype] = {element for data in copied for element in _elements(dtype, data)}
        return self._elements[dtype]


def _whole(tensor: ExpectedTensor) -> bytes:
    shape = tensor.entry.shape
    return tensor.bytes_of(Box((0,) * len(shape), shape))


def _copied(saved: str, data: bytes, dtype: str) -> bytes:
    """The bytes that elements of the one dtype are copied to in a tensor of another; none if they cannot be."""
    if saved == dtype or not data:
        return data
    target = torch.empty(len(data) // DTYPES[saved].itemsize, dtype=DTYPES[dtype])
    try:
        target.copy_(torch.frombuffer(bytearray(data), dtype=DTYPES[saved]))
    except (RuntimeError, ValueError):  # as for bits, which are of no number
        return b""
    return tensor_bytes(target)


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
