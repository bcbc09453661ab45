"""A case that somebody has written becomes as small as it goes, and shows what it showed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from campaign.cli import main
from campaign.minimize import minimized, smaller
from properties.known_issues import KNOWN_ISSUES
from strategies import scenarios
from tests.planted_bugs import CORE_BUGS
from worlds import ChunkSharding, Fault, Nested, ObjectEntry, Operation, Scenario, TensorEntry, WriterOptions
from worlds.plans import Box, Tiled

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
    bug = next(bug for bug in CORE_BUGS if bug.id == "a finish error swallowed")
    path, out = tmp_path / "large.json", tmp_path / "small.json"
    path.write_text(LARGE.to_json())
    with bug.planted():
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


def test_any_case_can_be_made_smaller_and_it_ends_in_time() -> None:
    case = Tiled((7, 9), (Box((0, 3), (7, 4)), Box((5, 5), (1, 1))))
    found = minimized(case, lambda tiled: any(box.sizes[:1] == (7,) for box in tiled.boxes), seconds=60)
    assert found == Tiled(boxes=(Box((), (7,)),))
    assert minimized(case, lambda tiled: True, seconds=-1) == case
