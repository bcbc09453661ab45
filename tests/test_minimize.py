"""A case that somebody has written becomes as small as it goes, and shows what it showed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from campaign.cli import main
from campaign.laws import all_laws
from campaign.minimize import Minimized, can_be_minimized, minimized
from campaign.opened import OpenedWorlds
from campaign.planted.bug import plant
from campaign.planted.catalogue import CATALOGUE
from campaign.size import size_of
from campaign.smaller import smaller
from properties.known_issues import KNOWN_ISSUES
from strategies import scenarios
from worlds import (
    ChunkSharding,
    EnumerableSharding,
    Fault,
    MeshSharding,
    Nested,
    ObjectEntry,
    Operation,
    Plain,
    Replicate,
    Scenario,
    Schedule,
    Shard,
    TensorEntry,
    Tile,
    WriterOptions,
)
from worlds.plans import Box, ChunkedShape, Item, MeshLayout, Split, Tiled, Validation
from worlds.sequences import SaveSequence
from worlds.windows import Window

LARGE = Scenario(
    entries=(
        TensorEntry("weight", (6, 4), saved=ChunkSharding(0, (0, 1, 2)), loaded=ChunkSharding(1, (2, 0))),
        Nested("model", "dict", (ObjectEntry("epoch", 3), TensorEntry("bias", (5,), "int16"))),
        ObjectEntry("last", "text"),
    ),
    save=Operation(3, coordinator=1, api="legacy"),
    load=Operation(3),
    writer=WriterOptions(thread_count=2, sync_files=True),
    faults=(Fault("save", 1, "writer.finish"), Fault("load", 2, "reader.read_data")),
)


def test_scenario_becomes_as_small_as_hypothesis_makes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "large.json", tmp_path / "small.json"
    path.write_text(LARGE.to_json())
    with plant(CATALOGUE["finish-error-swallowed"]):
        assert main(["minimize", str(path), "-o", str(out)]) == 0
        said = capsys.readouterr()
        small = Scenario.from_json(out.read_text())
        assert main(["replay", str(out)]) == 1
    assert small == Scenario(faults=(Fault("save", 0, "writer.finish"),))
    assert said.out == f"{small!r}\n"
    assert f": {len(repr(LARGE))} letters became {len(repr(small))}" in said.err


def test_known_issue_stays_the_same_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = (Nested("state", "dict", (ObjectEntry(7), TensorEntry("moment", (3,)))), TensorEntry("weight", (2, 2)))
    path = tmp_path / "large.json"
    path.write_text(Scenario(entries, Operation(2), Operation(2)).to_json())
    assert main(["minimize", str(path)]) == 0
    said = capsys.readouterr()
    assert "int-keys: " in said.err
    assert said.out.count("Entry(") == 1
    assert len(said.out) < 100


def test_what_shows_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scenario.json"
    path.write_text(Scenario((TensorEntry("a"),)).to_json())
    assert main(["minimize", str(path)]) == 3
    assert capsys.readouterr().err.endswith("scenario.json shows nothing to keep: the laws hold\n")
    assert main(["minimize", next(iter(KNOWN_ISSUES))]) == 2


@settings(max_examples=8)
@given(scenario=scenarios())
def test_each_step_is_a_legal_scenario_that_prints_as_itself(scenario: Scenario) -> None:
    for candidate in list(smaller(scenario))[:40]:
        assert Scenario.from_json(candidate.to_json()) == candidate


LEFT = {
    "read-from-beginning-of-tensor": (Window((2,), rows=(1, 1)), Window((2,), offset=(1,))),
    "chunk-that-begins-where-another-ends-left-out-of-sweep": (
        Scenario(
            (TensorEntry("a", (2,), saved=MeshSharding((3, 1), (Shard(0), Replicate()))),), Operation(3), Operation(3)
        ),
        Scenario((TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 0))),)),
    ),
    "every-part-of-dtensor-recorded-at-its-beginning": (
        Scenario(
            (TensorEntry("a"), TensorEntry("b", (1,), saved=MeshSharding((2,), (Shard(0),)))),
            Operation(2),
            Operation(2),
        ),
        Scenario((TensorEntry("a", (2,), saved=MeshSharding((2,), (Shard(0),))),), Operation(2)),
    ),
    "last-tile-of-checkpointable-tensor-left-out": (
        Scenario(
            (
                TensorEntry(
                    "a",
                    (2, 2),
                    saved=EnumerableSharding(
                        (Tile(2, (0, 0), (2, 1)), Tile(1, (1, 1), (1, 1)), Tile(2, (0, 1), (1, 1))), "Checkpointable"
                    ),
                ),
            ),
            Operation(3),
        ),
        Scenario(
            (
                TensorEntry(
                    "a",
                    (2,),
                    saved=EnumerableSharding((Tile(0, (0,), (1,)), Tile(0, (1,), (1,))), "Checkpointable"),
                ),
            )
        ),
    ),
    "overlaps-looked-for-among-neighbours-alone": (
        Validation(
            (
                Tiled(
                    (4, 3),
                    (
                        Box((0, 0), (1, 2)),
                        Box((1, 1), (2, 1)),
                        Box((1, 0), (3, 1)),
                        Box((0, 2), (3, 1)),
                        Box((1, 1), (2, 1)),
                    ),
                ),
            )
        ),
        None,
    ),
}
"""What Hypothesis has come to with a planted bug, and what that comes to."""


@pytest.mark.parametrize("bug", LEFT)
def test_what_hypothesis_leaves_becomes_as_small_as_the_smallest_known(bug: str) -> None:
    """Though what is smaller cannot be drawn by one change: another layout, another mesh, a row more for an entry."""
    case, expected = LEFT[bug]
    witness = CATALOGUE[bug].witness
    law = all_laws()[witness.law]

    def breaks(case: object) -> bool:
        try:
            law.judge(case, worlds)
        except AssertionError:
            return True
        return False

    with plant(CATALOGUE[bug]), OpenedWorlds() as worlds:
        found = minimized(case, breaks, seconds=600)
    assert found.whole
    assert expected in (None, found.case)
    size, known = size_of(found.case), size_of(witness.case)
    assert (size.ranks, size.entries, size.faults) == (known.ranks, known.entries, known.faults)
    assert size.elements <= known.elements + 4


def test_rank_that_is_gone_goes_from_wherever_it_is_named() -> None:
    """All at once, since no part of it is legal without the others."""
    one = TensorEntry("a", (2,), saved=ChunkSharding(0, (2, 0)), loaded=Plain((1, 2)))
    save = Operation(3, 2, "legacy", schedule=Schedule((2, 0, 1)))
    faults = tuple(Fault("save", rank, "writer.finish") for rank in range(3))
    case = SaveSequence((Scenario((one,), save, Operation(3), faults=faults),) * 2)
    found = minimized(case, lambda other: len(other.steps) == 2 and len(other.steps[1].faults) > 0, seconds=600)
    assert found == Minimized(
        SaveSequence((Scenario(), Scenario(faults=(Fault("save", 0, "writer.finish"),)))), whole=True
    )


def test_any_case_can_be_made_smaller_and_it_ends_in_time() -> None:
    case = Tiled((7, 9), (Box((0, 3), (7, 4)), Box((5, 5), (1, 1))))
    found = minimized(case, lambda tiled: any(box.sizes[:1] == (7,) for box in tiled.boxes), seconds=60)
    assert found == Minimized(Tiled(boxes=(Box((), (7,)),)), whole=True)
    assert minimized(case, lambda tiled: True, seconds=-1) == Minimized(case, whole=False)


def test_inputs_of_planning_that_may_not_be_legal_are_left_as_they_are() -> None:
    """Two chunks, of which one is found, became none at all, by which the law itself divided."""
    for case in (ChunkedShape((4, 2), 1, 2), Split(2, (Item("0"),)), MeshLayout((2,), (2, 1), (None, None))):
        assert not can_be_minimized(case)
        assert minimized(case, lambda _: True, seconds=60) == Minimized(case, whole=True)
