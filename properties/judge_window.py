"""Judges the load of a window: each shard has the elements that lie, in the saved tensor, so much further on."""

from __future__ import annotations

from collections.abc import Iterator

from strategies.case_features import case_features
from worlds.concise import pretty
from worlds.example import ExampleWorld
from worlds.outcome import Deadlocked, EntryState, ObjectState, Returned, TensorState
from worlds.parts import Box
from worlds.run_window import run_window
from worlds.windows import NAME, Window, WindowOutcome

from .expected_state import ExpectedTensor, expected_state
from .judged import count_judged
from .verdict import rank_text
from .violations import Deadlock, UnexpectedFailure, Violation, WrongBits, WrongKeys, WrongObject, WrongTensor

__all__ = ["check_window", "judge_window"]


def check_window(window: Window, world: ExampleWorld) -> None:
    """Raise the violation if the window has other elements than its place in the saved tensor."""
    __tracebackhide__ = True
    count_judged(case_features(window))
    violation = judge_window(window, run_window(world, window))
    if violation is not None:
        violation.throw()


def judge_window(window: Window, outcome: WindowOutcome) -> Violation | None:
    """The first thing that is wrong, or ``None``; a save that failed is judged by other laws."""
    if (outcome.load is not None) != outcome.save.returned:
        raise ValueError("a window is loaded if, and only if, the save returned on every rank")
    found = next(_violations(window, outcome), None)
    if found is None:
        return None
    kind, headline, *detail = found
    return kind("\n".join([headline, "", *f"window = {pretty(window)}".splitlines(), "", *detail]))


_Found = tuple[type[Violation], str] | tuple[type[Violation], str, str, str]


def _violations(window: Window, outcome: WindowOutcome) -> Iterator[_Found]:
    if outcome.load is None:
        return
    for rank, seen in enumerate(outcome.load.ranks):
        if not isinstance(seen, Returned):
            kind = Deadlock if isinstance(seen, Deadlocked) else UnexpectedFailure
            yield kind, f"load: rank {rank} {rank_text(seen)}"
            continue
        wanted = {state.path: state for state in expected_state(window.scenario, "load", rank)}
        held = {state.path: state for state in seen.state}
        if wanted.keys() != held.keys():
            yield WrongKeys, f"load: rank {rank} holds {sorted(held, key=str)}"
            continue
        for path, expected in wanted.items():
            where = f"load: {path[0]!r} on rank {rank}"
            if isinstance(expected, ExpectedTensor):
                yield from _tensor(window, where, rank, expected, held[path])
            elif held[path] != expected:
                yield WrongObject, f"{where} is not the object that was saved", str(expected), str(held[path])


def _tensor(window: Window, where: str, rank: int, expected: ExpectedTensor, seen: EntryState) -> Iterator[_Found]:
    parts = expected.layout.parts(expected.entry.shape, rank)
    boxes = [box for part in parts for box, _ in part.boxes()]
    if not isinstance(seen, TensorState) or [chunk.sizes for chunk in seen.chunks] != [box.sizes for box in boxes]:
        text = seen.text if isinstance(seen, ObjectState) else str(seen)
        yield WrongTensor, f"{where} is another tensor than its target: {text}"
        return
    for box, chunk in zip(boxes, seen.chunks, strict=True):
        offset = window.offset if expected.path == (NAME,) else (0,) * len(box.offsets)
        shifted = tuple(start + more for start, more in zip(box.offsets, offset, strict=True))
        right = expected.bytes_of(Box(shifted, box.sizes))
        if chunk.data != right:
            headline = f"{where}: the shard from {list(box.offsets)} on has not what was saved from {list(shifted)} on"
            yield WrongBits, headline, f"expected  {right.hex()}", f"seen      {chunk.data.hex()}"
