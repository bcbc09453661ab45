"""Damage to files of safetensors, and to DCP's own as fsspec writes them: as done, as judged, and what goes unseen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from properties import judge
from properties.damage_issues import check_damaged, find_damage_issue
from properties.judge_damaged_safetensors import SafetensorsDamage
from properties.known_issues import find_known_issue
from properties.violations import LostFailure, UnexpectedFailure, UnseenDamage, Violation, WrongRanks
from worlds import (
    ChunkSharding,
    Damage,
    InvalidScenario,
    Operation,
    ProcessWorld,
    Scenario,
    SimulatedWorld,
    TensorEntry,
)
from worlds.fitting import fitted
from worlds.layouts import EnumerableSharding, Plain, Tile
from worlds.operations import PlannerOptions
from worlds.outcome import ErrorRecord, OperationOutcome, Outcome, Raised, Returned
from worlds.safetensors_files import in_order, places_in

HALVES = ChunkSharding(0, (0, 1))
SHARDED = Scenario(
    (TensorEntry("a", (4,), saved=HALVES, loaded=HALVES), TensorEntry("b", (2,))),
    Operation(2),
    Operation(2),
    storage="safetensors",
)
"""Rank 0 writes and reads the one half of "a", rank 1 the other; "b" is in the second file, and read by both."""


def damaged(*done: Damage, storage: str = "safetensors") -> Scenario:
    return replace(SHARDED, damages=done, storage=storage)


def named(outcome: Outcome) -> tuple[str | None, set[int]]:
    """The phase, and the ranks that every rank of the load names."""
    assert outcome.load is not None
    (said,) = {(seen.phase, seen.failures) for seen in outcome.load.ranks if isinstance(seen, Raised)} or {(None, ())}
    phase, failures = said
    return phase, {rank for rank, _ in failures or ()}


def test_places_are_what_the_files_say() -> None:
    header = (
        b'{"__metadata__":{"DCP_SHARDING_INFO":"{\\"a\\": {\\"saved_offsets\\": [2]}}"},'
        b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[],"data_offsets":[8,9]}}'
    )
    content = len(header).to_bytes(8, "little") + header + bytes(9)
    places = places_in({"one.safetensors": content, "sharded/one.safetensors": content, "index.json": b"{}"})
    start = 8 + len(header)
    assert [(place.fqn, place.offsets, place.start, place.length) for place in places.storage] == [
        ("a", (2,), start, 8),
        ("b", (), start + 8, 1),
    ]
    assert [(tensor.fqn, tensor.shape) for tensor in places.tensors] == [("a", (4,)), ("b", ())]


@pytest.mark.parametrize(
    ("damage", "phase", "ranks"),
    [
        (Damage("truncated"), "plan", {0, 1}),
        (Damage("truncated", 1, byte=100), "plan", {0, 1}),
        (Damage("flipped", byte=9, bit=7), "plan", {0, 1}),  # no JSON any more
        (Damage("missing", 1), "plan", {0, 1}),  # "a" is shorter than it was, and "b" is not there
        (Damage("swapped"), None, set()),
        (Damage("left over"), None, set()),
    ],
    ids=repr,
)
def test_damage_is_named_or_does_not_matter(
    damage: Damage, phase: str | None, ranks: set[int], world: SimulatedWorld
) -> None:
    scenario = damaged(damage)
    outcome = world.run(scenario)
    judge(scenario, outcome).raise_for_violation()
    assert named(outcome) == (phase, ranks)


def test_rank_that_loads_nothing_of_a_missing_file_is_not_named(world: SimulatedWorld) -> None:
    scenario = replace(damaged(Damage("missing")), entries=(TensorEntry("b", (2,), loaded=ChunkSharding(0, (1,))),))
    outcome = world.run(scenario)
    judge(scenario, outcome).raise_for_violation()
    assert named(outcome) == ("plan", {1})


@pytest.mark.parametrize(
    ("damage", "known"),
    [
        (Damage("stale"), "stale-file"),
        (Damage("missing"), "safetensors-missing-file"),  # of the first rows of "a"; the last ones tell the size
        (Damage("flipped", inside=True, bit=3), "safetensors-flipped-bit"),
    ],
)
def test_what_nobody_sees_is_known(damage: Damage, known: str, world: SimulatedWorld) -> None:
    verdict = judge(damaged(damage), world.run(damaged(damage)))
    assert verdict.breach is not None
    assert verdict.breach.kind is UnseenDamage
    issue = find_damage_issue(verdict)
    assert issue is not None
    assert issue.id == known


def test_file_that_has_changed_places_before_it_is_missing_is_not_missed_either(world: SimulatedWorld) -> None:
    scenario = Scenario(
        (TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1, 2))),),
        Operation(3),
        damages=(Damage("swapped"), Damage("missing")),
        storage="safetensors",
    )
    verdict = judge(scenario, world.run(scenario))
    issue = find_damage_issue(verdict)
    assert issue is not None
    assert issue.id == "safetensors-missing-file"


_FIRST, _SECOND = ChunkSharding(0, (0,)), ChunkSharding(0, (1,))
_SWAPPED, _ON_0 = ChunkSharding(0, (1, 0)), Plain((0,))


@pytest.mark.parametrize(
    ("entries", "partial"),
    [
        # Of "a" the other half is there, and of "b" nothing.
        ((TensorEntry("a", (2,), saved=HALVES, loaded=_SWAPPED), TensorEntry("b", saved=_ON_0, loaded=_ON_0)), False),
        # Of "a" is nothing there, which is allowed, and "b" is shorter than it was.
        (
            (
                TensorEntry("a", (2,), saved=_FIRST, loaded=_SECOND),
                TensorEntry("b", (2,), saved=_SWAPPED, loaded=_ON_0),
            ),
            True,
        ),
    ],
)
def test_rank_that_misses_nothing_of_a_missing_file_is_known_where_another_one_is_named(
    entries: tuple[TensorEntry, ...], partial: bool, world: SimulatedWorld
) -> None:
    by, options = Operation(2), PlannerOptions(allow_partial_load=partial)
    scenario = Scenario(entries, by, by, planner=options, damages=(Damage("missing"),), storage="safetensors")
    outcome = world.run(scenario)
    assert named(outcome) == ("plan", {0})
    verdict = judge(scenario, outcome)
    assert verdict.breach is not None
    assert verdict.breach.kind is LostFailure
    issue = find_damage_issue(verdict)
    assert issue is not None
    assert issue.id == "safetensors-missing-file"


def test_parts_beside_a_consolidated_file_do_not_matter(world: SimulatedWorld) -> None:
    by = Operation(2, api="legacy")  # for with an id, all is in one directory, which is a known issue
    for number in (1, 2):
        scenario = replace(damaged(Damage("missing", number), storage="consolidated"), save=by)
        outcome = world.run(scenario)
        judge(scenario, outcome).raise_for_violation()
        assert named(outcome) == (None, set())
        assert [file.file.partition("/")[0] for file in outcome.damaged] == ["sharded"]
    gone = replace(damaged(Damage("missing"), storage="consolidated"), save=by)
    assert named(world.run(gone)) == ("plan", {0, 1})


@pytest.mark.parametrize("damage", [Damage("missing"), Damage("truncated", metadata=True), Damage("swapped")], ids=repr)
def test_files_of_fsspec_are_damaged_as_those_of_the_file_system(damage: Damage, world: SimulatedWorld) -> None:
    one, other = (world.run(damaged(damage, storage=storage)) for storage in ("file_system", "fsspec"))
    assert named(one) == named(other)
    assert [file.file for file in one.damaged] == [file.file for file in other.damaged]


def test_real_ranks_name_the_same(processes: ProcessWorld) -> None:
    for damage, ranks in ((Damage("truncated"), {0, 1}), (Damage("swapped"), set())):
        scenario = damaged(damage)
        outcome = processes.run(scenario)
        judge(scenario, outcome).raise_for_violation()
        assert named(outcome)[1] == ranks


def _blamed(outcome: Outcome, phase: str, *ranks: int) -> Outcome:
    failures = tuple((rank, ErrorRecord("SafetensorError", "x")) for rank in ranks)
    error = ErrorRecord("torch.distributed.checkpoint.api.CheckpointException", "")
    assert outcome.load is not None
    seen = (rank for rank in outcome.load.ranks if isinstance(rank, Raised | Returned))
    return replace(
        outcome, load=OperationOutcome(tuple(Raised(error, phase, failures, state=rank.state) for rank in seen))
    )


@pytest.mark.parametrize(
    ("damage", "phase", "ranks", "kind"),
    [
        (Damage("truncated"), "plan", (0,), LostFailure),
        (Damage("truncated"), "read", (0, 1), UnexpectedFailure),
        (Damage("swapped"), "plan", (0, 1), UnexpectedFailure),
        (Damage("left over"), "plan", (0, 1), UnexpectedFailure),
        (Damage("missing", 1), "plan", (0,), LostFailure),
        (Damage("flipped", inside=True), "read", (1,), WrongRanks),
    ],
    ids=repr,
)
def test_any_other_blame_is_a_violation(
    damage: Damage, phase: str, ranks: tuple[int, ...], kind: type[Violation], world: SimulatedWorld
) -> None:
    scenario = damaged(damage)
    breach = judge(scenario, _blamed(world.run(scenario), phase, *ranks)).breach
    assert breach is not None
    assert breach.kind is kind


def test_what_breaks_without_damage_is_not_judged_with_it(world: SimulatedWorld) -> None:
    """Of several shards of a rank one is written, which is a known issue; the other one is no loss by damage."""
    several = TensorEntry("a", (4,), saved=ChunkSharding(0, (0, 0)))
    check_damaged(Scenario((several,), storage="safetensors", damages=(Damage("swapped"),)), world)


def test_only_what_lies_open_is_damaged() -> None:
    for storage, damage, says in (
        ("memory", Damage("missing"), "memory has no files below its path that could be damaged"),
        ("reference", Damage("missing"), "reference has no files below its path that could be damaged"),
        ("safetensors", Damage("missing", metadata=True), "safetensors keeps no metadata that could be damaged"),
    ):
        with pytest.raises(InvalidScenario, match=says):
            damaged(damage, storage=storage)
        on_files = replace(SHARDED, storage="file_system", damages=(damage,))
        assert fitted(on_files, storage).damages == ((Damage("missing"),) if storage == "safetensors" else ())


def test_files_that_change_places_are_no_harm(world: SimulatedWorld) -> None:
    scenario = damaged(Damage("swapped"))
    damage = SafetensorsDamage.of(scenario, world.run(scenario))
    assert not damage.files


def test_copy_beside_an_older_file_does_not_make_it_the_newer_one(world: SimulatedWorld) -> None:
    """Found by the law itself: which of the two is read is not said."""
    scenario = replace(damaged(Damage("left over"), Damage("stale", 0)), entries=SHARDED.entries[1:])
    outcome = world.run(scenario)
    assert [file.file for file in SafetensorsDamage.of(scenario, outcome).files] == [
        file.file for file in outcome.damaged if file.before is not None
    ]
    verdict = judge(scenario, outcome)
    assert verdict or find_damage_issue(verdict) is not None


def test_header_without_metadata_stays_as_it_is() -> None:
    header = b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}'
    content = len(header).to_bytes(8, "little") + header + bytes(1)
    assert in_order(content) == content


def test_only_one_of_two_empty_tiles_at_one_place_is_saved(world: SimulatedWorld) -> None:
    """Found by the law itself, without any damage: so that the tensor seems to end where that one does."""
    tiles = EnumerableSharding((Tile(0, (0, 0), (0, 0)), Tile(1, (0, 0), (1, 0))), holder="Checkpointable")
    scenario = Scenario((TensorEntry("a", (1, 0), saved=tiles),), Operation(2), storage="safetensors")
    known = find_known_issue(judge(scenario, world.run(scenario)))
    assert known is not None
    assert known.id == "safetensors-size-by-shards"


def test_bit_is_flipped_in_what_is_left_of_a_file(world: SimulatedWorld) -> None:
    scenario = damaged(Damage("truncated", byte=100), Damage("flipped", byte=7, inside=True))
    judge(scenario, world.run(scenario)).raise_for_violation()
