"""Judges what the ranks hold: bits, dtypes, shapes, keys, and memory that nobody should have touched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from worlds.dtypes import DTYPES
from worlds.entries import TensorEntry
from worlds.layouts import Layout
from worlds.outcome import (
    ChunkState,
    ContainerState,
    EntryState,
    ObjectState,
    OperationOutcome,
    Raised,
    Returned,
    TensorState,
)
from worlds.parts import Box
from worlds.scenario import Scenario
from worlds.state_tree import path_text
from worlds.values import expected_bytes, poison_bytes

from .expected_state import ExpectedState, ExpectedTensor, Find, expected_state
from .verdict import Breach
from .violations import (
    ChangedInput,
    ChangedOutside,
    NotInPlace,
    NotLoaded,
    TouchedTarget,
    Violation,
    WrongBits,
    WrongKeys,
    WrongObject,
    WrongTensor,
)

__all__ = ["judge_state", "judge_untouched"]

Name = Literal["save", "load"]
Chunk = tuple[tuple[int, ...], tuple[int, ...]]


def judge_state(
    scenario: Scenario, name: Name, outcome: OperationOutcome, *, find: Find = expected_bytes
) -> Iterator[Breach]:
    """What is wrong with the state dicts after an operation that returned: each must hold what was saved.

    After a save, anything else than before is a :class:`ChangedInput`. ``find`` says what was saved, as
    :func:`expected_state` takes it.
    """
    for rank, seen in enumerate(outcome.ranks):
        if isinstance(seen, Returned):
            for breach in _state(scenario, name, rank, expected_state(scenario, name, rank, find=find), seen.state):
                yield breach if name == "load" else _as(ChangedInput, breach, "the save changed it")


def judge_untouched(scenario: Scenario, outcome: OperationOutcome) -> Iterator[Breach]:
    """What is wrong with the targets of a load that failed before it read anything: they must be as they were."""
    for rank, seen in enumerate(outcome.ranks):
        if isinstance(seen, Raised) and seen.phase == "plan":
            for breach in _state(
                scenario, "load", rank, expected_state(scenario, "load", rank, loaded=False), seen.state
            ):
                yield _as(TouchedTarget, breach, "the load failed in 'plan'")


def _as(kind: type[Violation], breach: Breach, why: str) -> Breach:
    return replace(breach, kind=kind, headline=f"{breach.headline} ({why})")


def _state(
    scenario: Scenario, name: Name, rank: int, expected: Sequence[ExpectedState], state: Sequence[EntryState]
) -> Iterator[Breach]:
    keys, before = [seen.path for seen in state], [wanted.path for wanted in expected]
    if scenario.container == "module":  # whose state dict has an order of its own
        keys, before = sorted(keys, key=str), sorted(before, key=str)
    if keys != before:
        holds, held = (", ".join(map(path_text, paths)) or "nothing" for paths in (keys, before))
        yield Breach(WrongKeys, f"{name}: rank {rank} holds {holds}, and should hold {held}", name)
        return
    by_path = {wanted.path: wanted for wanted in expected}
    for seen in state:
        for breach in _entry(name, rank, by_path[seen.path], seen):
            yield replace(breach, path=seen.path)


def _entry(name: Name, rank: int, expected: ExpectedState, seen: EntryState) -> Iterator[Breach]:
    where = f"{name}: {path_text(seen.path)} on rank {rank}"
    if isinstance(expected, ContainerState):
        yield from _container(where, name, expected, seen)
    elif isinstance(expected, ObjectState):
        if seen != expected:
            yield Breach(
                WrongObject, f"{where} is not the object that was saved", name, _beside(expected, seen), fact="object"
            )
    elif not isinstance(seen, TensorState):
        yield Breach(WrongTensor, f"{where} is no tensor any more but {_described(seen)}", name, fact="no tensor")
    else:
        yield from _tensor(where, name, rank, expected, seen)


def _container(where: str, name: Name, expected: ContainerState, seen: EntryState) -> Iterator[Breach]:
    if not isinstance(seen, ContainerState) or seen.type != expected.type:
        yield Breach(
            WrongObject, f"{where} is {_described(seen)} and should be a {expected.type}", name, fact="container"
        )
    elif expected.in_place and not seen.in_place:
        yield Breach(
            NotInPlace, f"{where} is another {seen.type} than the one that was handed in", name, fact="container"
        )


def _described(seen: EntryState) -> str:
    match seen:
        case ObjectState(_, kind, text):
            return f"{kind} {text}"
        case ContainerState(_, kind):
            return f"a {kind}"
    return "a tensor"


def _tensor(where: str, name: Name, rank: int, expected: ExpectedTensor, seen: TensorState) -> Iterator[Breach]:
    entry, layout = expected.entry, expected.layout
    for what, wanted, got in (
        ("kind", layout.kind, seen.kind),
        ("dtype", entry.dtype, seen.dtype),
        ("shape", entry.shape, seen.shape),
        ("chunks", _chunks(entry, layout, rank), _non_empty(seen.chunks)),
        ("device", *_devices(expected, seen)),
    ):
        if wanted != got:
            headline = f"{where} has another {what} than its target: {got} instead of {wanted}"
            yield Breach(WrongTensor, headline, name, fact=what)
            return
    for chunk in sorted(seen.chunks, key=lambda chunk: chunk.offsets):
        yield from _bits(where, name, expected, chunk)
    if expected.in_place and not seen.in_place:
        yield Breach(NotInPlace, f"{where} is another tensor than the one to load into", name, fact="tensor")
    if not seen.guards_intact:
        yield Breach(ChangedOutside, f"{where}: memory beside the tensor was written", name)


def _devices(expected: ExpectedTensor, seen: TensorState) -> tuple[str, str]:
    """Where it is to be, and where it is; what holds no chunk is nowhere else."""
    wanted = "meta" if expected.is_meta else expected.layout.device
    got = "accelerator" if seen.on_accelerator else "cpu"
    return wanted, ("meta" if seen.is_meta else got) if seen.chunks else wanted


def _chunks(entry: TensorEntry, layout: Layout, rank: int) -> list[Chunk]:
    """The blocks with elements that the rank must hold, sorted."""
    boxes = (box for part in layout.parts(entry.shape, rank) for box, _ in part.boxes())
    return sorted((box.offsets, box.sizes) for box in boxes if box)


def _non_empty(chunks: Sequence[ChunkState]) -> list[Chunk]:
    return sorted((chunk.offsets, chunk.sizes) for chunk in chunks if math.prod(chunk.sizes))


def _bits(where: str, name: Name, expected: ExpectedTensor, chunk: ChunkState) -> Iterator[Breach]:
    box = Box(chunk.offsets, chunk.sizes)
    if not chunk.data or chunk.data == (right := expected.bytes_of(box)):
        return
    entry = expected.entry
    width = DTYPES[entry.dtype].itemsize
    wanted, got = _elements(right, width), _elements(chunk.data, width)
    poison = _elements(poison_bytes(expected.fqn, expected.content or entry, box), width)
    wrong = [index for index, element in enumerate(got) if element != wanted[index]]
    untouched = [index for index in wrong if got[index] == poison[index]]
    count = f"{len(wrong)} of {len(wanted)} elements of its chunk at {list(chunk.offsets)}"
    # Were they written at all? An untouched element and a wrong one are different bugs.
    detail = tuple(_differences(path_text(expected.path), chunk, wanted, got, wrong, set(untouched)))
    if len(untouched) == len(wrong):
        yield Breach(NotLoaded, f"{where}: {count} were not loaded", name, detail)
    else:
        own = set(_elements(expected.bytes_of(Box((0,) * len(entry.shape), entry.shape)), width))
        moved = all(got[index] in own for index in wrong if index not in untouched)
        fact = "elements of another place" if moved else "values that it does not have"
        yield Breach(WrongBits, f"{where}: {count} are not what was saved", name, detail, fact=fact)


def _differences(
    name: str,
    chunk: ChunkState,
    wanted: Sequence[bytes],
    got: Sequence[bytes],
    wrong: Sequence[int],
    untouched: set[int],
    limit: int = 6,
) -> Iterator[str]:
    for index in wrong[:limit]:
        place = list(_global_index(chunk, index))
        note = ", as before the load" if index in untouched else ""
        yield f"element   {name}{place}: expected {wanted[index].hex()}, seen {got[index].hex()}{note}"
    if len(wrong) > limit:
        yield f"          … and {len(wrong) - limit} more"


def _global_index(chunk: ChunkState, index: int) -> tuple[int, ...]:
    place = []
    for offset, size in zip(reversed(chunk.offsets), reversed(chunk.sizes), strict=True):
        index, within = divmod(index, size)
        place.append(offset + within)
    return tuple(reversed(place))


def _elements(data: bytes, width: int) -> list[bytes]:
    return [data[start : start + width] for start in range(0, len(data), width)]


def _beside(expected: ObjectState, seen: EntryState) -> tuple[str, str]:
    return (f"expected  {expected.type} {expected.text}", f"seen      {_described(seen)}")
