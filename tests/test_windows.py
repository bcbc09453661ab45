"""Windows of saved tensors: as drawn, as run, and as judged."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import find, settings

import worlds
from properties.judge_window import judge_window
from properties.violations import Deadlock, UnexpectedFailure, WrongBits, WrongKeys
from strategies import windows
from worlds import ChunkSharding, InvalidScenario, Operation, ProcessWorld, SimulatedWorld
from worlds.outcome import Deadlocked, ErrorRecord, OperationOutcome, Raised, Returned, TensorState, Waiting
from worlds.run_window import run_window
from worlds.windows import Window, WindowOutcome

# Its five rows lie across the three chunks that were saved, and its two columns in the middle.
ACROSS = Window((8, 4), (2, 1), (2, 3), (2,), saved=ChunkSharding(0, (0, 1, 2)), save=Operation(3))


def test_a_window_lies_in_its_tensor() -> None:
    with pytest.raises(InvalidScenario, match="lies in its tensor"):
        replace(ACROSS, offset=(4, 1))
    with pytest.raises(InvalidScenario, match="has a row"):
        replace(ACROSS, rows=(5, 0))


def test_shrinks_to_the_whole_of_one_element() -> None:
    assert find(windows(), lambda _: True, settings=settings(database=None, max_examples=200)) == Window()


def test_window_across_chunks_is_loaded(world: SimulatedWorld, processes: ProcessWorld) -> None:
    for where in (world, processes):
        outcome = run_window(where, ACROSS)
        assert judge_window(ACROSS, outcome) is None
        assert outcome.load is not None
        assert outcome.load.returned


def test_judge_finds_what_is_wrong(world: SimulatedWorld) -> None:
    outcome = run_window(world, ACROSS)
    assert outcome.load is not None
    first, second = outcome.load.ranks
    assert isinstance(first, Returned)
    tensor = next(state for state in first.state if state.path == ("a",))
    assert isinstance(tensor, TensorState)
    chunk = replace(tensor.chunks[0], data=bytes(len(tensor.chunks[0].data)))
    zeroed = tuple(replace(tensor, chunks=(chunk,)) if state is tensor else state for state in first.state)
    for seen, kind in (
        (Returned(zeroed), WrongBits),
        (Returned(()), WrongKeys),
        (Raised(ErrorRecord("OSError", "x")), UnexpectedFailure),
        (Deadlocked(Waiting("a lock")), Deadlock),
    ):
        violation = judge_window(ACROSS, replace(outcome, load=OperationOutcome((seen, second))))
        assert isinstance(violation, kind)
        text = str(violation).split("window = ")[1].split("\n\n")[0]
        assert eval(text, {**vars(worlds), "Window": Window}) == ACROSS
    with pytest.raises(ValueError, match="if, and only if"):
        judge_window(ACROSS, WindowOutcome(outcome.save))
