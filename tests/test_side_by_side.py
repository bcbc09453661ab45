"""Two saves in one program: as drawn, as run, as judged, and what is known to be wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import find, settings

import worlds
from properties.judge_side_by_side import judge_side_by_side
from properties.ledger import torch_release
from properties.side_by_side_issues import (
    SIDE_BY_SIDE_ISSUES,
    SideBySideIssue,
    find_breach,
    find_side_by_side_issue,
)
from strategies import saves_side_by_side
from worlds import (
    ChunkSharding,
    Fault,
    InvalidScenario,
    ObjectEntry,
    Operation,
    ProcessWorld,
    Scenario,
    SimulatedWorld,
    TensorEntry,
)
from worlds.example import ExampleWorld
from worlds.outcome import Raised, Returned
from worlds.run_side_by_side import run_side_by_side
from worlds.side_by_side import SideBySide

HALVES = ChunkSharding(0, (0, 1))
SHARDED = Scenario(
    (TensorEntry("a", (4,), saved=HALVES, loaded=HALVES), ObjectEntry("o", 1)),
    Operation(2, members=(0, 2)),
    Operation(2, members=(1, 2)),
)
WHOLE = Scenario((TensorEntry("a", (3, 2), "int16"),), Operation(3, members=(1, 3, 4)), Operation(3, members=(0, 3, 4)))
ISSUES = pytest.mark.parametrize("issue", SIDE_BY_SIDE_ISSUES.values(), ids=lambda issue: issue.id)


@pytest.fixture(params=["simulated", "processes"])
def either(request: pytest.FixtureRequest) -> ExampleWorld:
    """Each of the two worlds in turn."""
    world: ExampleWorld = request.getfixturevalue(request.param)
    return world


def test_uploads_are_async_and_by_all() -> None:
    with pytest.raises(InvalidScenario, match="async_save"):
        SideBySide(SHARDED, WHOLE, "uploads")
    with pytest.raises(InvalidScenario, match="has members"):
        SideBySide(replace(SHARDED, save=Operation(2)), WHOLE)
    failing = replace(SHARDED, faults=(Fault("save", 0, "writer.finish"),))
    with pytest.raises(InvalidScenario, match="not in the other"):
        SideBySide(failing, SHARDED)


def test_shrinks_to_two_groups_of_one_rank() -> None:
    smallest = find(saves_side_by_side(), lambda _: True, settings=settings(database=None, max_examples=300))
    assert [len(scenario.save.members) for scenario in smallest.both] == [1, 1]
    assert not any(scenario.entries for scenario in smallest.both)


@pytest.mark.thorough
@pytest.mark.parametrize("shared", [False, True], ids=["apart", "sharing a rank"])
def test_groups_across_each_other_are_drawn(shared: bool) -> None:
    def across(pair: SideBySide) -> bool:
        one, other = (scenario.save.members for scenario in pair.both)
        lie_across = bool(one and other) and one[0] < other[0] < one[-1] and len(one) != len(other)
        return lie_across and bool(set(one) & set(other)) == shared

    assert find(saves_side_by_side(), across, settings=settings(database=None, max_examples=3000))


@pytest.mark.parametrize("other", [WHOLE, replace(WHOLE, save=Operation(3, members=(0, 1, 2)))])
def test_groups_save_at_once(other: Scenario, either: ExampleWorld) -> None:
    pair = SideBySide(SHARDED, other)
    outcome = run_side_by_side(either, pair)
    assert judge_side_by_side(pair, outcome) is None
    for one, size in zip(outcome.together, (2, 3), strict=True):
        assert one.save.returned
        assert one.load is not None
        assert len(one.load.ranks) == size
        assert one.load.returned
        assert one.files


def test_failure_in_one_group_is_nothing_to_the_other(either: ExampleWorld) -> None:
    failing = replace(SHARDED, faults=(Fault("save", 1, "writer.write_data"),))
    pair = SideBySide(failing, WHOLE)
    outcome = run_side_by_side(either, pair)
    assert judge_side_by_side(pair, outcome) is None
    assert all(isinstance(seen, Raised) for seen in outcome.together[0].save.ranks)
    assert outcome.together[1].save.returned


def test_uploads_are_in_flight_at_once(either: ExampleWorld) -> None:
    one, other = (replace(SHARDED, save=Operation(2, api="async", members=members)) for members in ((), (0, 1)))
    pair = SideBySide(one, replace(other, entries=(TensorEntry("a", (4,), "float64"),)), "uploads")
    outcome = run_side_by_side(either, pair)
    assert judge_side_by_side(pair, outcome) is None
    assert all(seen.save.returned for seen in outcome.together)


def test_metadata_of_the_other_upload_over_one_group_are_known(world: SimulatedWorld) -> None:
    """On real ranks messages change places now and then so that all of them fit, and nothing else shows it."""
    one = Scenario((TensorEntry("a"),), Operation(2, api="async"), Operation(members=(0,)))
    other = replace(one, entries=(TensorEntry("b"),))
    uploads = SideBySide(one, replace(other, save=replace(other.save, members=(0, 1))), "uploads")
    outcome = run_side_by_side(world, uploads)
    first, second = outcome.together
    assert first.metadata is not None
    assert second.metadata is not None
    for pair, foreign, known in (
        (SideBySide(one, other, "one group"), second.metadata.storage, "uploads-over-one-group"),
        (SideBySide(one, other, "one group"), first.metadata.storage, None),
        (uploads, second.metadata.storage, None),
    ):
        mixed = replace(first.metadata, storage=(*first.metadata.storage, *foreign))
        breach = judge_side_by_side(pair, replace(outcome, together=(replace(first, metadata=mixed), second)))
        assert breach is not None
        found = find_side_by_side_issue(breach)
        assert (found and found.id) == known


def test_any_other_difference_is_a_new_one(world: SimulatedWorld) -> None:
    pair = SideBySide(SHARDED, WHOLE)
    outcome = run_side_by_side(world, pair)
    one, other = outcome.together
    lost = replace(other.save, ranks=(Returned(()), *other.save.ranks[1:]))
    for changed in (replace(other, files=()), replace(other, load=None), replace(other, save=lost)):
        breach = judge_side_by_side(pair, replace(outcome, together=(one, changed)))
        assert breach is not None
        assert find_side_by_side_issue(breach) is None
        text = str(breach.violation())
        assert text.startswith("the second save beside another one: ")
        assert "pair = SideBySide(" in text


@ISSUES
def test_minimal_pair_shows_the_issue(issue: SideBySideIssue, world: SimulatedWorld, processes: ProcessWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    breach = find_breach(issue.pair, world)
    assert breach is not None, f"this torch no longer shows it: set fixed_in of {issue.id!r}"
    assert find_side_by_side_issue(breach) is issue, breach.violation()
    assert eval(repr(issue.pair), {**vars(worlds), "SideBySide": SideBySide}) == issue.pair
    real = find_breach(issue.pair, processes)  # where it may depend on which thread is faster
    assert real is None or find_side_by_side_issue(real) is issue, real.violation()
