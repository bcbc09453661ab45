"""Saves that follow each other: as drawn, as run by ranks that remember, and as compared."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import Phase, find, given, seed, settings
from torch.distributed.checkpoint import _async_process_executor
from torch.distributed.checkpoint.planner import SavePlanner

from properties.check import KNOWN_HITS
from properties.judge_async import check_async_sequence, compare_async
from properties.judge_sequence import SequenceBreach, compare_caching
from properties.known_issues import KNOWN_ISSUES
from properties.ledger import torch_release
from properties.sequence_issues import SEQUENCE_ISSUES, SequenceIssue, find_sequence_issue
from strategies import async_save_sequences, save_sequences
from worlds import ChunkSharding, Fault, InvalidScenario, Operation, ProcessWorld, Scenario, TensorEntry
from worlds.layouts import Plain
from worlds.operations import STAGERS, NamedBy, PlannerOptions, Stager, WriterOptions
from worlds.outcome import Deadlocked, ErrorRecord, Raised
from worlds.processes.asynchronous import run_async_sequence
from worlds.processes.sequences import run_sequence
from worlds.sequences import SaveSequence, SequenceOutcome

STEP = Scenario((TensorEntry("a", (3,)), TensorEntry("b", (2,))), Operation(2), Operation(2))


def test_steps_are_saved_in_one_world() -> None:
    with pytest.raises(InvalidScenario, match="different worlds"):
        SaveSequence((STEP, replace(STEP, save=Operation(3))))


def test_shrinks_to_two_saves_of_the_same() -> None:
    smallest = find(save_sequences(), lambda _: True, settings=settings(database=None, max_examples=200))
    assert len(smallest.steps) == 2
    assert smallest.steps[0] == smallest.steps[1] == Scenario((TensorEntry("a"),))


def test_changes_and_failures_in_between_are_drawn() -> None:
    drawn: list[SaveSequence] = []

    @seed(0)
    @settings(max_examples=150, database=None, phases=[Phase.generate])
    @given(sequence=save_sequences())
    def collect(sequence: SaveSequence) -> None:
        drawn.append(sequence)

    collect()
    pairs = [pair for one in drawn for pair in zip(one.steps, one.steps[1:], strict=False)]
    assert any(one == other for one, other in pairs)
    assert any(other.faults for _, other in pairs)
    assert any(one.faults and not other.faults for one, other in pairs), "a save after one that failed"
    names = [tuple({entry.key for entry in step.entries} for step in pair) for pair in pairs]
    assert any(one < other for one, other in names)
    assert any(one > other for one, other in names)


def cached_plans(_: int) -> int:
    return len(SavePlanner._cached_final_save_plan)


def test_ranks_remember_within_a_sequence_that_caches_and_not_beyond(processes: ProcessWorld) -> None:
    run_sequence(processes, SaveSequence((STEP, STEP)), caching=True)
    assert processes.launch(cached_plans, 2).ranks == (1, 1)
    run_sequence(processes, SaveSequence((STEP, STEP)), caching=False)
    assert processes.launch(cached_plans, 2).ranks == (0, 0)


def test_caching_does_not_show_where_shapes_and_keys_change_and_a_save_fails(processes: ProcessWorld) -> None:
    failing = replace(STEP, faults=(Fault("save", 1, "writer.write_data"),))
    larger = replace(STEP, entries=(TensorEntry("a", (5,)), TensorEntry("b", (2,))))
    sequence = SaveSequence((STEP, failing, larger, replace(STEP, entries=STEP.entries[1:]), STEP))
    plain, cached = (run_sequence(processes, sequence, caching=caching) for caching in (False, True))
    assert len(plain.steps) == 5
    assert isinstance(plain.steps[1].save.ranks[0], Raised)
    assert compare_caching(sequence, plain, cached) is None


def test_sequence_ends_where_its_ranks_do(processes: ProcessWorld) -> None:
    hangs = replace(STEP, faults=(Fault("save", 1, "writer.reset"),))
    outcome = run_sequence(processes, SaveSequence((STEP, hangs, STEP)), caching=True)
    assert len(outcome.steps) == 2


@pytest.mark.parametrize("issue", SEQUENCE_ISSUES.values(), ids=lambda issue: issue.id)
def test_minimal_sequence_shows_the_issue(issue: SequenceIssue, processes: ProcessWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    plain, cached = (run_sequence(processes, issue.sequence, caching=caching) for caching in (False, True))
    breach = compare_caching(issue.sequence, plain, cached)
    assert breach is not None, f"this torch no longer shows it: set fixed_in of {issue.id!r}"
    assert find_sequence_issue(breach) is issue
    text = str(breach.violation())
    last = len(issue.sequence.steps)
    assert text.startswith(f"step {last} of {last}: with enable_plan_caching ")
    assert "sequence = SaveSequence(" in text


def shown(issue: SequenceIssue, processes: ProcessWorld) -> SequenceBreach:
    """What is said of an issue's sequence, if the installed torch has it."""
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    plain, cached = (run_sequence(processes, issue.sequence, caching=caching) for caching in (False, True))
    breach = compare_caching(issue.sequence, plain, cached)
    assert breach is not None
    return breach


def test_metadata_that_are_gone_are_not_those_of_an_older_dtype(processes: ProcessWorld) -> None:
    breach = shown(SEQUENCE_ISSUES["cached-plan-dtype"], processes)
    assert find_sequence_issue(replace(breach, cached=replace(breach.cached, metadata=None))) is None


def test_plan_is_that_of_a_failed_save_only_where_that_was_planned_and_is_another(processes: ProcessWorld) -> None:
    breach = shown(SEQUENCE_ISSUES["cached-plans-of-failed-save"], processes)
    first, failed, last = breach.sequence.steps
    earlier = replace(failed, faults=(Fault("save", 0, "planner.create_local_plan"),))
    same = replace(failed, entries=first.entries)
    for steps in ((first, earlier, last), (first, same, last), (first, failed, failed)):
        assert find_sequence_issue(replace(breach, sequence=SaveSequence(steps))) is None, steps


def test_what_else_goes_wrong_after_a_failed_save_is_new(processes: ProcessWorld) -> None:
    """A load that sees something else by right metadata; another failure; and metadata of another tensor."""
    breach = shown(SEQUENCE_ISSUES["cached-plans-of-failed-save"], processes)
    metadata = breach.cached.metadata
    assert metadata is not None
    stray = replace(metadata, tensors=tuple(replace(record, fqn="stray") for record in metadata.tensors))
    failed = Raised(ErrorRecord("OSError", "x"), "plan", ((0, ErrorRecord("OSError", "x")),))
    for cached in (
        replace(breach.plain, load=None),
        replace(breach.plain, save=replace(breach.plain.save, ranks=(failed,))),
        replace(breach.cached, metadata=stray),
    ):
        assert find_sequence_issue(replace(breach, cached=cached)) is None, cached


def test_saves_that_go_back_after_one_that_is_invalid_are_the_same_issue(processes: ProcessWorld) -> None:
    """Found by a campaign: the coordinator keeps what it was told before it finds it invalid."""
    if not KNOWN_ISSUES["chunk-behind-the-end"].affects(torch_release()):
        pytest.skip("no such sharding is invalid in this torch")
    y = TensorEntry("y", (8, 6, 2, 1), saved=ChunkSharding(0, (2, 0)))
    step = Scenario((y,), Operation(3, coordinator=2, api="legacy"), Operation(3))
    invalid = replace(step, entries=(replace(y, saved=ChunkSharding(3, (0, 1, 2))),))
    sequence = SaveSequence((step, invalid, replace(step, entries=())))
    plain, cached = (run_sequence(processes, sequence, caching=caching) for caching in (False, True))
    breach = compare_caching(sequence, plain, cached)
    assert breach is not None
    assert find_sequence_issue(breach) is SEQUENCE_ISSUES["cached-plans-of-failed-save"]


def test_any_other_difference_is_a_new_one(processes: ProcessWorld) -> None:
    sequence = SaveSequence((STEP, STEP))
    outcome = run_sequence(processes, sequence, caching=False)
    last = outcome.steps[1]
    assert last.load is not None
    for changed in (replace(last, files=()), replace(last, load=None), replace(last, metadata=None)):
        breach = compare_caching(sequence, outcome, SequenceOutcome((outcome.steps[0], changed)))
        assert breach is not None
        assert breach.step == 1
        assert find_sequence_issue(breach) is None
    assert compare_caching(sequence, outcome, outcome) is None


def by_async_save(step: Scenario, stager: Stager = "writer") -> Scenario:
    return replace(step, save=replace(step.save, api="async", stager=stager))


def test_saves_by_the_process_executor_are_of_the_state_at_the_call(processes: ProcessWorld) -> None:
    """Checkpoints in turn by the same daemons and any stager, the state of each changed while it is saved."""
    steps = (STEP, replace(STEP, entries=STEP.entries[1:]), STEP, STEP, STEP, STEP)
    plain = run_sequence(processes, SaveSequence(steps), caching=False)
    sequence = SaveSequence(tuple(starmap(by_async_save, zip(steps, STAGERS, strict=True))))
    saved = run_async_sequence(processes, sequence)
    assert len(saved.steps) == len(steps)
    assert saved.steps[0].load is not None
    assert compare_async(sequence, plain, saved) is None
    [alone, by_path] = (by_async_save(step, "default") for step in (STEP, STEP))
    named = SaveSequence(
        (
            replace(alone, save=replace(alone.save, named_by="storage")),
            replace(by_path, save=replace(by_path.save, named_by="path")),
        )
    )
    check_async_sequence(named, processes)
    hangs = replace(STEP, faults=(Fault("save", 1, "writer.reset"),))
    assert isinstance(processes.run(hangs).save.ranks[0], Deadlocked), "also with the threads that serve a daemon"
    first = saved.steps[0]
    failed = Raised(ErrorRecord("OSError", "x"))
    for changed in (
        replace(first, load=None),
        replace(first, files=()),
        replace(first, save=replace(first.save, ranks=(failed, failed))),
    ):
        breach = compare_async(sequence, plain, SequenceOutcome((changed, *saved.steps[1:])))
        assert breach is not None
        assert str(breach.violation()).startswith("step 1 of 6: with async_save in a process ")


def test_save_in_place_is_refused_by_a_daemon_whose_writer_does_not_overwrite(processes: ProcessWorld) -> None:
    kept = by_async_save(replace(STEP, writer=WriterOptions(overwrite=False)))
    outcome = run_async_sequence(processes, SaveSequence((kept, kept), in_place=True))
    refused = outcome.steps[1].save.ranks[0]
    assert outcome.steps[0].save.returned
    assert isinstance(refused, Raised)
    assert refused.failures
    assert "self.overwrite=False" in refused.failures[0][1].message
    check_async_sequence(SaveSequence((kept, by_async_save(STEP), kept), in_place=True), processes)


def daemon_of(_: int) -> int:
    daemon = _async_process_executor._CHECKPOINT_PROCESS
    assert daemon is not None
    assert daemon._save_process is not None
    assert daemon._save_process.pid is not None
    return daemon._save_process.pid


def test_daemons_begin_anew_where_they_are_to(processes: ProcessWorld) -> None:
    """Then nothing of an earlier example is there, as what a planner remembers."""
    steps = (by_async_save(replace(STEP, planner=PlannerOptions(enable_plan_caching=True))),) * 2
    check_async_sequence(SaveSequence(steps, anew=True), processes)
    first = processes.launch(daemon_of, 2).ranks
    check_async_sequence(SaveSequence(steps), processes)
    assert processes.launch(daemon_of, 2).ranks == first
    check_async_sequence(SaveSequence(steps, anew=True), processes)
    assert not set(processes.launch(daemon_of, 2).ranks) & set(first)
    assert not any(Path(f"/proc/{daemon}").exists() for daemon in first), "those of before have ended"


def test_staging_that_is_known_to_fail_is_no_news_of_the_process_executor(processes: ProcessWorld) -> None:
    """A blocking save of such a tensor is refused on every rank; the copy for the daemon fails on one alone."""
    entry = TensorEntry("a", (1,), "bits1x8", saved=ChunkSharding(0, (0, 1)))
    step = by_async_save(replace(STEP, entries=(entry,)))
    before = KNOWN_HITS["staging-exotic-dtype"]
    check_async_sequence(SaveSequence((step, step)), processes)
    assert KNOWN_HITS["staging-exotic-dtype"] == before + 1


def test_copy_that_is_known_to_be_wrong_is_no_news_of_the_process_executor(processes: ProcessWorld) -> None:
    """The save returns, and what was loaded is the negative of what was to be saved."""
    step = by_async_save(replace(STEP, entries=(TensorEntry("a", saved=Plain(memory="negated")),)), "default")
    before = KNOWN_HITS["staging-lazy-bits"]
    check_async_sequence(SaveSequence((step,)), processes)
    assert KNOWN_HITS["staging-lazy-bits"] == before + 1


def test_daemon_that_waits_for_ever_is_found_at_once() -> None:
    """One rank's copy fails, so that the other's daemon saves alone; once that took until the last resort."""
    entry = TensorEntry("a", (1,), "uint8", saved=ChunkSharding(0, (1, 1)))  # the second of which is empty
    step = by_async_save(replace(STEP, entries=(entry,)))
    exotic = replace(step, entries=(replace(entry, dtype="bits16"),))
    before = KNOWN_HITS["staging-exotic-dtype"]
    with ProcessWorld(patience=900) as world:
        started = time.monotonic()
        outcome = run_async_sequence(world, SaveSequence((step, exotic)))
        assert time.monotonic() - started < 450, "as the last resort"
        stuck = outcome.steps[1].save.ranks[0]
        assert isinstance(stuck, Deadlocked)
        assert str(stuck.waiting) == "the daemon of async_save"
        check_async_sequence(SaveSequence((step, exotic)), world)
    assert KNOWN_HITS["staging-exotic-dtype"] == before + 1


def test_saves_for_a_daemon_have_any_stager_and_nobody_who_fails() -> None:
    """Nor is there one without a group; none of those could be sent to a daemon."""
    smallest = find(async_save_sequences(), lambda _: True, settings=settings(database=None, max_examples=200))
    assert smallest == SaveSequence((Scenario((TensorEntry("a"),), Operation(api="async")),) * 2)
    drawn: list[Scenario] = []
    sequences: list[SaveSequence] = []

    @seed(0)
    @settings(max_examples=60, database=None, phases=[Phase.generate])
    @given(sequence=async_save_sequences())
    def collect(sequence: SaveSequence) -> None:
        sequences.append(sequence)
        drawn.extend(sequence.steps)

    collect()
    assert {step.save.stager for step in drawn} == set(STAGERS)
    assert {step.save.named_by for step in drawn} == set(get_args(NamedBy))
    assert all(step.save.distributed and not step.faults for step in drawn)
    assert len({(one.in_place, one.anew) for one in sequences}) == 4
    assert all(one.anew for one in sequences if one.steps[0].planner.enable_plan_caching)
