"""Damage to a checkpoint: as drawn, as done, as judged, and what is known to go unseen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import find, settings

import worlds
from campaign.script.known import CannotWrite
from campaign.script.write import write_script
from properties import judge
from properties.damage_issues import DAMAGE_ISSUES, DamageIssue, find_damage_issue
from properties.damage_reads import harm_of
from properties.known_issues import find_known_issue
from properties.ledger import torch_release
from properties.verdict import Verdict
from properties.violations import (
    Deadlock,
    Disagreement,
    LostFailure,
    RankDied,
    TouchedTarget,
    UnexpectedFailure,
    UnprotectedFailure,
    UnseenDamage,
    Violation,
    WrongBits,
    WrongException,
    WrongObject,
    WrongRanks,
)
from strategies import damaged_scenarios, damages
from worlds import (
    ChunkSharding,
    Damage,
    Fault,
    InvalidScenario,
    ObjectEntry,
    Operation,
    ProcessWorld,
    Scenario,
    SimulatedWorld,
    TensorEntry,
)
from worlds.killed import KilledScenario
from worlds.outcome import (
    ChunkState,
    DamagedFile,
    Deadlocked,
    Died,
    EntryState,
    ErrorRecord,
    ObjectState,
    Outcome,
    Raised,
    RankOutcome,
    Returned,
    TensorState,
    Waiting,
)
from worlds.rebuilding import Rebuilding
from worlds.routes import Route
from worlds.sequences import SaveSequence
from worlds.side_by_side import SideBySide

QUIET = settings(database=None, max_examples=300)
HALVES = ChunkSharding(0, (0, 1))
SHARDED = Scenario(
    (TensorEntry("a", (4,), saved=HALVES, loaded=HALVES), ObjectEntry("o", "text")), Operation(2), Operation(2)
)
"""Rank 0 writes and reads the one half, rank 1 the other, and the object is with one of them and read by both."""
ISSUES = pytest.mark.parametrize("issue", DAMAGE_ISSUES.values(), ids=lambda issue: issue.id)


def damaged(*done: Damage) -> Scenario:
    return replace(SHARDED, damages=done)


def named(outcome: Outcome) -> set[int]:
    """The ranks that every rank of the load names; it is an error if they do not agree."""
    assert outcome.load is not None
    said = {seen.failures if isinstance(seen, Raised) else None for seen in outcome.load.ranks}
    (failures,) = said
    return {rank for rank, _ in failures or ()}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Damage("missing", -1), "a number too small"),
        (lambda: Damage("swapped", other=0), "a number too small"),
        (lambda: Damage("flipped", bit=8), "no bit 8"),
        (lambda: Damage("swapped", metadata=True), "no 'swapped' of metadata"),
        (lambda: replace(damaged(Damage("missing")), faults=(Fault("load", 0, "reader.read_data"),)), "without faults"),
        (
            lambda: Scenario(save=Operation(api="uncoordinated"), damages=(Damage("missing"),)),
            "metadata of the whole",
        ),
    ],
)
def test_what_is_no_damage_is_refused(make: Any, says: str) -> None:
    with pytest.raises(InvalidScenario, match=says):
        make()


def test_other_cases_take_no_damaged_scenario() -> None:
    one = replace(damaged(Damage("missing")), entries=())
    for make in (KilledScenario, Route, Rebuilding, lambda scenario: SaveSequence((scenario,))):
        with pytest.raises(InvalidScenario, match="damage"):
            make(one)
    with pytest.raises(InvalidScenario, match="not damaged"):
        SideBySide(one, one)


def test_damage_is_data() -> None:
    scenario = damaged(Damage("flipped", 1, byte=3, bit=7, inside=True), Damage("missing", metadata=True))
    assert Scenario.from_json(scenario.to_json()) == scenario
    assert eval(repr(scenario), vars(worlds)) == scenario
    assert "damages" not in SHARDED.to_json()


def test_shrinks_to_one_missing_file() -> None:
    assert find(damaged_scenarios(), lambda _: True, settings=QUIET) == Scenario()
    smallest = find(damaged_scenarios(), lambda scenario: bool(scenario.damages), settings=QUIET)
    assert smallest == Scenario(entries=(TensorEntry("a"),), damages=(Damage("missing"),))
    assert find(damages(), lambda done: done[0].metadata, settings=QUIET) == (Damage("missing", metadata=True),)
    assert find(damages(), lambda done: done[0].inside, settings=QUIET) == (Damage("flipped", inside=True),)


@pytest.mark.parametrize(
    ("done", "files"),
    [
        (Damage("flipped", byte=5), {"__0_0.distcp": "changed"}),
        (Damage("flipped", 1, byte=10**6), {"__1_0.distcp": "changed"}),
        (Damage("truncated", 1, byte=5), {"__1_0.distcp": "shorter"}),
        (Damage("truncated"), {"__0_0.distcp": "shorter"}),
        (Damage("missing", 3), {"__1_0.distcp": "gone"}),
        (Damage("stale"), {"__0_0.distcp": "changed"}),
        (Damage("left over", 5), {"__7_0.distcp": "new"}),
        (Damage("missing", metadata=True), {".metadata": "gone"}),
        (Damage("truncated", metadata=True), {".metadata": "shorter"}),
        (Damage("flipped", metadata=True), {".metadata": "changed"}),
        (Damage("flipped", metadata=True, inside=True), {".metadata": "changed"}),
    ],
)
def test_damage_is_done_the_same_each_time(done: Damage, files: dict[str, str], world: SimulatedWorld) -> None:
    scenario = damaged(done)
    outcome = world.run(scenario)
    assert {file.file: _became(file) for file in outcome.damaged} == files
    assert world.run(scenario) == outcome


def _became(file: DamagedFile) -> str:
    if file.before is None:
        return "new"
    if file.after is None:
        return "gone"
    return "shorter" if file.after < file.before else "changed"


def test_swapped_files_change_places(world: SimulatedWorld) -> None:
    one, other = world.run(damaged(Damage("swapped"))).damaged
    assert (one.before, one.after) == (other.after, other.before)
    assert not world.run(damaged(Damage("swapped", other=2))).damaged, "a file with itself"
    assert not world.run(damaged(Damage("swapped"), Damage("swapped"))).damaged, "there and back"


def test_inside_are_the_bytes_of_elements(world: SimulatedWorld) -> None:
    """Each flips one bit of one of the two elements in the file: 8 bytes, which count round."""
    whole = world.run(SHARDED)
    for byte in range(0, 9, 4):
        outcome = world.run(damaged(Damage("flipped", byte=byte, bit=1, inside=True)))
        assert outcome.load is not None
        assert whole.load is not None
        (seen, other), (right, _) = outcome.load.ranks, whole.load.ranks
        assert other == whole.load.ranks[1]
        assert isinstance(seen, Returned)
        assert isinstance(right, Returned)
        changed = [at for at, (one, two) in enumerate(zip(_bytes(seen), _bytes(right), strict=True)) if one != two]
        assert changed == [byte % 8]


def _bytes(seen: Returned) -> bytes:
    (tensor,) = (state for state in seen.state if isinstance(state, TensorState))
    return b"".join(chunk.data for chunk in tensor.chunks)


@pytest.mark.parametrize(
    ("done", "ranks"),
    [
        (Damage("missing"), {0}),
        (Damage("missing", 1), {0, 1}),  # the object is there
        (Damage("truncated", byte=10), {0}),
        (Damage("missing", metadata=True), {0, 1}),
        (Damage("truncated", metadata=True, byte=40), {0, 1}),
        (Damage("left over"), set()),
    ],
)
def test_exactly_those_who_read_it_are_named(done: Damage, ranks: set[int], world: SimulatedWorld) -> None:
    scenario = damaged(done)
    outcome = world.run(scenario)
    assert judge(scenario, outcome)
    assert named(outcome) == ranks


def test_real_ranks_see_the_same_damage(world: SimulatedWorld, processes: ProcessWorld) -> None:
    for done in (Damage("missing", 1), Damage("truncated", byte=10), Damage("flipped", metadata=True), Damage("stale")):
        one, other = world.run(damaged(done)), processes.run(damaged(done))
        assert one.damaged == other.damaged
        assert one.load is not None
        assert other.load is not None
        assert [replace_origin(seen) for seen in one.load.ranks] == [replace_origin(seen) for seen in other.load.ranks]


def replace_origin(seen: RankOutcome) -> RankOutcome:
    return replace(seen, origin="") if isinstance(seen, Raised) else seen


def test_harm_is_where_the_bytes_are() -> None:
    flipped = DamagedFile("f", 100, 100, ((40, 41),))
    assert [harm_of(flipped, start, start + 20) for start in (0, 20, 40, 60)] == [None, None, "altered", None]
    shorter = DamagedFile("f", 100, 50, ((50, 100),))
    assert [harm_of(shorter, start, start + 20) for start in (0, 30, 40, 60)] == [None, None, "lost", "lost"]
    both = DamagedFile("f", 100, 50, ((45, 46), (50, 100)))
    assert [harm_of(both, start, start + 20) for start in (0, 30, 40, 60)] == [None, "altered", "altered", "lost"]
    assert harm_of(DamagedFile("f", 100, None, ((0, 100),)), 0, 20) == "lost"
    assert harm_of(DamagedFile("f", None, 100), 0, 20) is None
    assert harm_of(None, 0, 20) is None


MISSES_BOTH = Damage("missing", 1)
ERROR = ErrorRecord("FileNotFoundError", "No such file: '<checkpoint>/__1_0.distcp'")
OTHER = ErrorRecord("RuntimeError", "something else")


def failed(*failures: tuple[int, ErrorRecord], phase: str = "read") -> tuple[Raised, Raised]:
    one = Raised(ErrorRecord("CheckpointException", ""), phase=phase, failures=failures)
    return one, one


@pytest.mark.parametrize(
    ("ranks", "kind"),
    [
        (failed((0, ERROR), (1, ERROR)), None),
        (failed((1, ERROR)), LostFailure),
        (failed((0, ERROR), (1, OTHER)), WrongException),
        (failed((0, OTHER), (1, OTHER), phase="plan"), UnexpectedFailure),
        ((failed((0, ERROR), (1, ERROR))[0], Returned(())), LostFailure),
        ((failed((0, ERROR), (1, ERROR))[0], Raised(ERROR)), UnprotectedFailure),
        ((failed((0, ERROR), (1, ERROR))[0], failed((0, ERROR), (1, OTHER))[0]), Disagreement),
        ((Deadlocked(Waiting("gather")), Deadlocked(Waiting("gather"))), Deadlock),
        ((Died("killed by SIGSEGV"), Deadlocked(Waiting("gather"))), Deadlock),
        ((Died("killed by SIGSEGV"), failed((0, ERROR), (1, ERROR))[0]), RankDied),
    ],
)
def test_what_is_gone_is_missed(
    ranks: tuple[RankOutcome, RankOutcome], kind: type[Violation] | None, world: SimulatedWorld
) -> None:
    verdict = judged(MISSES_BOTH, ranks, world)
    assert (verdict.breach and verdict.breach.kind) == kind, verdict
    assert find_damage_issue(verdict) is None
    assert find_known_issue(verdict) is None
    if kind is not None:
        assert "damaged   __1_0.distcp: 2" in str(verdict)
        assert "reads     rank 0 cannot read 'o'" in str(verdict)


def judged(done: Damage, ranks: tuple[RankOutcome, ...] | None, world: SimulatedWorld) -> Verdict:
    """The verdict on an outcome in which the ranks of the load saw that, or what they saw without the damage."""
    outcome, whole = world.run(damaged(done)), world.run(SHARDED)
    assert whole.load is not None
    return judge(damaged(done), replace(outcome, load=replace(whole.load, ranks=ranks or whole.load.ranks)))


def test_who_reads_none_of_it_is_not_named(world: SimulatedWorld) -> None:
    for done in (Damage("missing"), Damage("flipped")):
        verdict = judged(done, failed((0, replace(ERROR, message="__0_0.distcp")), (1, ERROR)), world)
        assert verdict.breach is not None
        assert verdict.breach.kind is WrongRanks
    verdict = judged(Damage("left over"), failed((0, ERROR)), world)
    assert verdict.breach is not None
    assert verdict.breach.kind is UnexpectedFailure


def test_exact_load_is_no_breach_where_bytes_were_changed(world: SimulatedWorld) -> None:
    for done in (Damage("flipped"), Damage("stale"), Damage("flipped", metadata=True), Damage("left over")):
        assert judged(done, None, world)
    assert not judged(Damage("truncated"), None, world)
    assert not judged(Damage("missing", metadata=True), None, world)


def test_target_is_untouched_where_there_is_no_metadata(world: SimulatedWorld) -> None:
    done = Damage("missing", metadata=True)
    load = world.run(damaged(done)).load
    assert load is not None
    loaded = world.run(SHARDED).load
    assert loaded is not None
    ranks = tuple(_with_state_of(seen, right) for seen, right in zip(load.ranks, loaded.ranks, strict=True))
    verdict = judged(done, ranks, world)
    assert verdict.breach is not None
    assert verdict.breach.kind is TouchedTarget


def _with_state_of(seen: RankOutcome, right: RankOutcome) -> RankOutcome:
    assert isinstance(seen, Raised)
    assert isinstance(right, Returned)
    return replace(seen, state=right.state)


def wrong(ranks: tuple[RankOutcome, ...], rank: int, path: tuple[str, ...]) -> tuple[RankOutcome, ...]:
    """With another value there."""
    seen = ranks[rank]
    assert isinstance(seen, Returned)
    state = tuple(_other(one) if one.path == path else one for one in seen.state)
    return (*ranks[:rank], replace(seen, state=state), *ranks[rank + 1 :])


def _other(state: EntryState) -> EntryState:
    if isinstance(state, ObjectState):
        return replace(state, text="'another'")
    assert isinstance(state, TensorState)
    chunks = tuple(ChunkState(one.offsets, one.sizes, bytes(len(one.data))) for one in state.chunks)
    return replace(state, chunks=chunks)


@pytest.mark.parametrize(
    ("done", "rank", "path", "kind"),
    [
        (Damage("flipped"), 0, ("a",), UnseenDamage),
        (Damage("flipped"), 1, ("a",), WrongBits),
        (Damage("flipped"), 0, ("o",), WrongObject),
        (Damage("flipped", 1), 0, ("o",), UnseenDamage),
        (Damage("flipped", 1), 0, ("a",), WrongBits),
        (Damage("flipped", 1, byte=10**4), 1, ("a",), UnseenDamage),
        (Damage("flipped", metadata=True), 1, ("a",), UnseenDamage),
        (Damage("left over"), 1, ("a",), WrongBits),
    ],
)
def test_what_is_wrong_outside_the_damage_is_new(
    done: Damage, rank: int, path: tuple[str, ...], kind: type[Violation], world: SimulatedWorld
) -> None:
    whole = world.run(SHARDED).load
    assert whole is not None
    verdict = judged(done, wrong(whole.ranks, rank, path), world)
    assert verdict.breach is not None
    assert verdict.breach.kind is kind
    known = find_damage_issue(verdict)
    assert (known is not None) == (kind is UnseenDamage)
    assert find_known_issue(verdict) is None


@ISSUES
def test_minimal_scenario_shows_the_issue(issue: DamageIssue, world: SimulatedWorld, processes: ProcessWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    for either in (world, processes):
        verdict = judge(issue.scenario, either.run(issue.scenario))
        assert not verdict, f"this torch no longer shows it: set fixed_in of {issue.id!r}"
        assert find_damage_issue(verdict) is issue, verdict
        assert verdict.breach is not None
        for kind in Violation.__subclasses__():
            other = replace(verdict, breach=replace(verdict.breach, kind=kind))
            assert (find_damage_issue(other) is None) == (kind is not UnseenDamage)


def test_other_damage_that_is_not_seen_is_new(world: SimulatedWorld) -> None:
    """Each entry is for its own kind of damage alone."""
    for issue in DAMAGE_ISSUES.values():
        outcome = world.run(issue.scenario)
        own = {damage.kind for damage in issue.scenario.damages}
        for done in (damage for damage in (Damage("truncated"), Damage("missing")) if damage.kind not in own):
            scenario = replace(issue.scenario, damages=(done,))
            verdict = judge(issue.scenario, outcome)
            assert find_damage_issue(replace(verdict, scenario=scenario)) is None


def test_script_of_damage_that_is_seen_is_refused_in_one_line(world: SimulatedWorld) -> None:
    scenario = damaged(Damage("missing"))
    with pytest.raises(CannotWrite, match="no script yet for damage to a checkpoint, but for one") as caught:
        write_script(judge(scenario, world.run(scenario)))
    assert "\n" not in str(caught.value)


def test_older_file_is_known_where_the_metadata_are_as_old(world: SimulatedWorld) -> None:
    """They differ where an item has another length, and passed for altered ones."""
    damages = (Damage("stale"), Damage("stale", metadata=True))
    scenario = Scenario((ObjectEntry("a", b"", form="BytesIO"),), damages=damages)
    known = find_damage_issue(judge(scenario, world.run(scenario)))
    assert known is not None
    assert known.id == "stale-file"
