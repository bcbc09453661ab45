"""Quantized tensors: as drawn, as written, as loaded and judged, and what is known to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import find, settings

import worlds
from properties.judge_quantized import dequantized, judge_quantized
from properties.ledger import torch_release
from properties.quantized_issues import QUANTIZED_ISSUES, QuantizedIssue, find_quantized_issue
from strategies import quantized_tensors
from worlds import (
    ChunkSharding,
    EnumerableSharding,
    InvalidScenario,
    MeshSharding,
    Operation,
    Plain,
    ProcessWorld,
    Shard,
    SimulatedWorld,
    TensorEntry,
    Tile,
)
from worlds.outcome import Died, ErrorRecord, OperationOutcome, Outcome, Raised, Returned, TensorState
from worlds.quantized import Quantized
from worlds.quantized_files import stored_tensors
from worlds.run_quantized import run_quantized

ISSUES = pytest.mark.parametrize("issue", QUANTIZED_ISSUES.values(), ids=lambda issue: issue.id)
# The second rank has a part that begins in the middle of a block, and the last blocks are not whole.
WITHIN = Quantized(
    (5, 3),
    block=2,
    target_dtype="bfloat16",
    loaded=EnumerableSharding((Tile(0, (0, 0), (5, 1)), Tile(1, (0, 1), (3, 2)), Tile(0, (3, 1), (2, 2)))),
    load=Operation(2),
    loads_scales=True,
    apart=True,
    partial=True,
    thread_count=2,
)
GROUPS = Quantized((1, 2, 5), "mxfp4", loaded=MeshSharding((2,), (Shard(2),)), load=Operation(2))


def test_what_is_quantized_is_in_blocks() -> None:
    with pytest.raises(InvalidScenario, match="has a dim"):
        Quantized(())
    with pytest.raises(InvalidScenario, match="has an element"):
        Quantized(block=0)
    with pytest.raises(InvalidScenario, match="is no name for it"):
        Quantized(beside=TensorEntry("a.weight_scale_inv", (2,)))
    with pytest.raises(InvalidScenario, match="a plain tensor of float32"):
        Quantized(beside=TensorEntry("b", dtype="int8"))


def test_shrinks_to_one_element() -> None:
    assert find(quantized_tensors(), lambda _: True, settings=settings(database=None, max_examples=200)) == Quantized()


def test_model_is_the_element_times_the_scale_of_its_block() -> None:
    stored = stored_tensors(WITHIN)
    weight, scales = stored["a.weight"].float(), stored["a.weight_scale_inv"]
    assert scales.tolist() == [[2, 3], [4, 5], [6, 7]]
    loaded = dequantized(replace(WITHIN, target_dtype="float32"))["a.weight"]
    for row in range(5):
        for column in range(3):
            assert loaded[row, column] == weight[row, column] * scales[row // 2, column // 2]


def test_model_has_the_lower_half_of_a_byte_first() -> None:
    case = Quantized((1, 1, 2), "mxfp4")
    stored = stored_tensors(case)
    assert stored["a_blocks"].flatten().tolist() == [0x1D, 0x66]
    assert stored["a_scales"].flatten().tolist() == [119, 124]
    expected = [-3.0 / 256, 0.5 / 256, 4.0 / 8, 4.0 / 8]
    assert dequantized(case)["a_blocks"].flatten().tolist() == expected


def test_rounds_to_the_dtype_of_the_reader_first() -> None:
    case = Quantized((3, 9), "int8", target_dtype="bfloat16", dtype="float32")
    exact = dequantized(replace(case, target_dtype="float32"))["a.weight"]
    rounded = dequantized(case)["a.weight"]
    assert torch.equal(rounded, exact.bfloat16().float())
    assert not torch.equal(rounded, exact)


def test_parts_from_within_blocks_are_loaded(world: SimulatedWorld, processes: ProcessWorld) -> None:
    for where in (world, processes):
        outcome = run_quantized(where, WITHIN)
        assert judge_quantized(WITHIN, outcome) is None
        assert outcome.load is not None
        assert outcome.load.returned


@ISSUES
def test_minimal_case_shows_the_issue(issue: QuantizedIssue, world: SimulatedWorld, processes: ProcessWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    for where in (world, processes):
        breach = judge_quantized(issue.quantized, run_quantized(where, issue.quantized))
        assert breach is not None, f"this torch no longer shows it: set fixed_in of {issue.id!r}"
        assert find_quantized_issue(breach) is issue, breach.violation()
        text = str(breach.violation()).split("quantized = ")[1].split("\n\n")[0]
        assert eval(text, {**vars(worlds), "Quantized": Quantized}) == issue.quantized


@ISSUES
def test_entry_matches_no_other_failure(issue: QuantizedIssue) -> None:
    saved = OperationOutcome((Returned(()),))
    plan = Raised(ErrorRecord("CheckpointException", ""), "plan", ((0, ErrorRecord("OSError", "disk")),))
    read = replace(plan, phase="read")
    for seen in (plan, read, Raised(ErrorRecord("OSError", "disk")), Returned(()), Died("killed by SIGSEGV")):
        breach = judge_quantized(issue.quantized, Outcome(saved, OperationOutcome((seen,))))
        assert breach is not None
        assert find_quantized_issue(breach) is None, breach.violation()
    with pytest.raises(ValueError, match="were not written"):
        judge_quantized(issue.quantized, Outcome(OperationOutcome((plan,))))


def altered(outcome: Outcome, name: str, rank: int, change: Callable[[bytes], bytes]) -> Outcome:
    """The outcome with other bytes in the first chunk of a tensor."""
    assert outcome.load is not None
    seen = outcome.load.ranks[rank]
    assert isinstance(seen, Returned)
    tensor = next(state for state in seen.state if state.path == (name,))
    assert isinstance(tensor, TensorState)
    first = replace(tensor.chunks[0], data=change(tensor.chunks[0].data))
    state = tuple(
        replace(tensor, chunks=(first, *tensor.chunks[1:])) if each is tensor else each for each in seen.state
    )
    ranks = tuple(Returned(state) if index == rank else each for index, each in enumerate(outcome.load.ranks))
    return replace(outcome, load=OperationOutcome(ranks))


def test_elements_that_are_left_are_known_and_no_others(world: SimulatedWorld) -> None:
    """Of each row of ten, the first five are read, all of which the first rank has."""
    issue, outcome = QUANTIZED_ISSUES["mxfp4-first-elements-alone"], run_quantized(world, GROUPS)
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    breach = judge_quantized(GROUPS, outcome)
    assert breach is not None
    assert find_quantized_issue(breach) is issue
    assert "'a_blocks' on rank 1: 10 of 10 elements" in breach.breach.headline
    for name, rank in (("a_blocks", 0), ("a_blocks", 1), ("b", 0)):
        other = altered(outcome, name, rank, lambda data: bytes([data[0] ^ 1]) + data[1:])
        breach = judge_quantized(GROUPS, other)
        assert breach is not None
        assert find_quantized_issue(breach) is None, breach.violation()


@pytest.mark.parametrize(
    ("case", "known"),
    [
        (Quantized(prefix="a.weight_scale_inv"), "scales-named-twice"),
        (Quantized(beside=TensorEntry("b_blocks")), "mxfp4-by-name-alone"),
        (Quantized(beside=TensorEntry("b_blocks", (2, 2))), "mxfp4-by-name-alone"),
        # Rank 0 rightly refuses its shard, and rank 1 is blamed.
        (
            Quantized(
                beside=TensorEntry("b_blocks", (1, 1)),
                loaded=ChunkSharding(0, (0,), memory="meta"),
                load=Operation(2),
            ),
            "mxfp4-by-name-alone",
        ),
        (Quantized((1, 1, 1)), "quantized-other-dims"),
        (Quantized((1, 1), "mxfp4"), "quantized-other-dims"),
        (Quantized((1,), loads_scales=True, apart=True, thread_count=2), "quantized-other-dims"),
        (
            Quantized((1, 1, 1), "mxfp4", target_dtype="float16", loaded=Plain(memory="negated")),
            "mxfp4-first-elements-alone",
        ),
        (Quantized((1, 1, 1), "mxfp4", loaded=Plain(memory="meta")), "mxfp4-first-elements-alone"),
    ],
    ids=repr,
)
def test_other_cases_of_what_is_known(case: Quantized, known: str, world: SimulatedWorld) -> None:
    if not QUANTIZED_ISSUES[known].affects(torch_release()):
        pytest.skip("this torch does not have it")
    breach = judge_quantized(case, run_quantized(world, case))
    assert breach is not None
    found = find_quantized_issue(breach)
    assert found is not None, breach.violation()
    assert found.id == known


@pytest.mark.parametrize("name", ["b.weight", "b.weight_scale_inv", "b_scales"])
def test_names_without_their_pair_are_loaded_as_they_are(name: str, world: SimulatedWorld) -> None:
    case = Quantized(beside=TensorEntry(name, (2, 1)), loaded=ChunkSharding(0, (0,)))
    assert judge_quantized(case, run_quantized(world, case)) is None


def test_what_is_not_read_on_the_meta_device_is_the_same_each_time(world: SimulatedWorld) -> None:
    """What stands in its place begins with what was in that memory; anything else there than that is new."""
    case = Quantized((1, 1, 2), "mxfp4", 3, loaded=Plain(memory="meta"))
    outcome = run_quantized(world, case)
    assert run_quantized(world, case) == outcome
    other = altered(outcome, case.name, 0, lambda data: bytes([*data[:-1], data[-1] ^ 1]))
    breach = judge_quantized(case, other)
    assert breach is not None
    assert find_quantized_issue(breach) is None, breach.violation()
