"""What the comparison of worlds calls equal, and that it sees a world that differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from torch.distributed.checkpoint import state_dict_saver

from campaign.planted.plant import planted
from properties.agreement import WorldsDisagree, compare_worlds, is_race
from worlds import Fault, Operation, Outcome, ProcessWorld, Scenario, SimulatedWorld, TensorEntry, WriterOptions
from worlds.outcome import Died, ErrorRecord, Hit, Raised, Returned

SCENARIO = Scenario(entries=(TensorEntry("a", (3,)),), save=Operation(2), load=Operation(2))
FAILING = replace(SCENARIO, faults=(Fault("save", 1, "writer.write_data"),))


def with_rank(outcome: Outcome, rank: int, seen: object) -> Outcome:
    ranks = list(outcome.save.ranks)
    ranks[rank] = seen  # type: ignore[call-overload]
    return replace(outcome, save=replace(outcome.save, ranks=tuple(ranks)))


def test_schedule_and_origin_are_a_worlds_own(world: SimulatedWorld) -> None:
    outcome = world.run(SCENARIO)
    compare_worlds(SCENARIO, outcome, replace(outcome, save=replace(outcome.save, schedule=("rank 1: x",))))
    raised = Raised(ErrorRecord("OSError", "x"), origin="torch/a.py:f")
    failed = with_rank(with_rank(replace(outcome, load=None), 0, raised), 1, raised)
    compare_worlds(SCENARIO, failed, with_rank(failed, 1, replace(raised, origin="b.py:g")))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda seen: Died("x"), "rank 1 saw different things"),
        (lambda seen: replace(seen, phase="plan"), "rank 1 saw different things"),
        (lambda seen: replace(seen, failures=((0, seen.failures[0][1]),)), "rank 1 saw different things"),
        (lambda seen: replace(seen, failures=((1, ErrorRecord("OSError", "other")),)), "rank 1 saw different things"),
    ],
)
def test_other_outcome_of_a_rank_is_a_disagreement(
    change: Callable[[object], object], says: str, world: SimulatedWorld
) -> None:
    outcome = world.run(FAILING)
    with pytest.raises(WorldsDisagree, match=says):
        compare_worlds(FAILING, outcome, with_rank(outcome, 1, change(outcome.save.ranks[1])))


def test_other_bits_hits_and_files_are_a_disagreement(world: SimulatedWorld) -> None:
    outcome = world.run(SCENARIO)
    assert outcome.load is not None
    loaded = outcome.load.ranks[1]
    assert isinstance(loaded, Returned)
    other = replace(outcome.load, ranks=(outcome.load.ranks[0], replace(loaded, state=())))
    for changed in (
        replace(outcome, load=other),
        replace(outcome, load=replace(outcome.load, hits=(Hit(0),))),
        replace(outcome, files=()),
        replace(outcome, metadata=None),
    ):
        with pytest.raises(WorldsDisagree):
            compare_worlds(replace(SCENARIO, faults=(Fault("load", 0, "reader.reset"),)), outcome, changed)


def test_text_shows_scenario_and_both_verdicts(world: SimulatedWorld) -> None:
    outcome = world.run(FAILING)
    with pytest.raises(WorldsDisagree) as caught:
        compare_worlds(FAILING, outcome, with_rank(outcome, 1, Died("killed by SIGKILL")))
    text = str(caught.value)
    assert "scenario = Scenario(" in text
    assert "\nsimulated  the laws hold\n" in text
    assert "\nreal       RankDied: save: rank 1 died: killed by SIGKILL\n" in text


def test_which_thread_fails_is_left_to_the_laws() -> None:
    threads = WriterOptions(thread_count=2)
    assert is_race(replace(FAILING, writer=threads, faults=(Fault("save", 1, "planner.resolve_data"),)))
    assert not is_race(replace(FAILING, writer=threads))


def test_rank_that_may_come_late_is_a_race() -> None:
    """Found by the law itself: real ranks were in time, and the simulated one was late."""
    late = Scenario(save=Operation(2, api="uncoordinated"), load=Operation(2), writer=WriterOptions(overwrite=False))
    assert is_race(late)
    assert not is_race(replace(late, writer=WriterOptions()))
    assert not is_race(replace(late, save=Operation(2)))


def test_bug_that_one_world_has_is_found(world: SimulatedWorld, processes: ProcessWorld) -> None:
    """Planted in this process, where the simulated ranks are and the real ones are not."""
    scenario = replace(SCENARIO, faults=(Fault("save", 0, "writer.finish"),))
    compare_worlds(scenario, world.run(scenario), processes.run(scenario))
    finish = "storage_writer.finish(metadata=global_metadata, results=all_results)"
    lost = f"try:\n            {finish}\n        except BaseException:\n            pass"
    with planted(state_dict_saver, "_save_state_dict", finish, lost), pytest.raises(WorldsDisagree, match="rank 0"):
        compare_worlds(scenario, world.run(scenario), processes.run(scenario))
