"""The measure: laws take turns against a planted bug, what comes of it is on disk at once, and is told in a table."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.cli import main
from campaign.laws import Law
from campaign.measure.plot import found_over_examples
from campaign.measure.race import Course
from campaign.measure.run import RESULTS, measure, read_results
from campaign.measure.table import lines, table
from campaign.measure.torch_tests import steady_tests
from campaign.planted.bug import Bug, Change, Witness
from campaign.planted.catalogue import CATALOGUE
from campaign.size import Size, size_of
from tests.warm_python import run_python
from worlds import ChunkSharding, Fault, Operation, Scenario, TensorEntry
from worlds.histories import History, Load, Save
from worlds.plans import Box, Cut, Held, Item, MeshLayout, NestedState, Plans, Reads, Tiled
from worlds.quantized import Quantized
from worlds.training import Norm, Parallelism, Side, Training
from worlds.windows import Window

BUG = CATALOGUE["overlap-of-first-dim"]
WITNESS = Witness("round_trip", Scenario((TensorEntry("a"),)))


NUMBERS = st.integers(0, 1000)


def law(name: str, judge: Callable[[int], None], *, examples: int, cases: st.SearchStrategy[int] = NUMBERS) -> Law:
    @settings(max_examples=examples, database=None, derandomize=True, deadline=None)
    @given(case=cases)
    def test(case: int) -> None:
        judge(case)

    test.hypothesis.inner_test.__annotations__["case"] = int  # type: ignore[attr-defined]
    return Law(name, __name__, test, test.hypothesis.inner_test)  # type: ignore[attr-defined]


def holds(case: int) -> None:
    """A law that nothing breaks."""


def breaks_above_9(case: int) -> None:
    assert case < 10, "too many"


def test_laws_take_turns_in_proportion_to_their_examples(tmp_path: Path) -> None:
    course = Course([law("often", holds, examples=40), law("seldom", holds, examples=10)], examples=25)
    (missed,) = measure([BUG], [0], [course], tmp_path / "missed")
    assert (missed["state"], missed["examples"]) == ("missed", 25)
    course = Course([law("often", holds, examples=40), law("seldom", breaks_above_9, examples=10)])
    (found,) = measure([BUG], [0], [course], tmp_path / "found")
    assert (found["state"], found["law"]) == ("found", "seldom")
    assert found["examples"] % 5 == 0  # four of the one for each of the other
    assert found["headline"] == "AssertionError: too many"
    assert found["case"] == {"python": "10"}, "it must be shrunk"
    assert found["shrunk"]


def test_chance_looks_for_the_bug_beside_the_laws_with_as_many_examples_and_does_not_shrink(tmp_path: Path) -> None:
    course = Course([law("breaks", breaks_above_9, examples=40)])
    laws, by_chance = measure([BUG], [0], [course, replace(course, by_chance=True)], tmp_path)
    assert (laws["who"], laws["state"]) == ("laws", "found")
    assert (by_chance["who"], by_chance["state"]) == ("by chance", "found")
    assert "size" not in by_chance
    course = Course([law("needs luck", at_a_bound, examples=40)])
    laws, by_chance = measure([BUG], [1], [course, replace(course, by_chance=True)], tmp_path)
    assert laws["state"] == "found", "Hypothesis favours bounds"
    assert (by_chance["state"], by_chance["examples"]) == ("missed", 40)
    assert read_results(tmp_path)[-1] == by_chance


def at_a_bound(case: int) -> None:
    assert case not in (0, 1000)


def test_law_that_the_witness_breaks_looks_alone(tmp_path: Path) -> None:
    course = Course([law("found", breaks_above_9, examples=40), law(BUG.witness.law, holds, examples=60)], alone=True)
    (record,) = measure([BUG], [0], [course], tmp_path)
    assert (record["state"], record["examples"]) == ("missed", 60)


def breaks_in_two_ways(case: int) -> None:
    if case > 500:
        raise LookupError("far too many")
    breaks_above_9(case)


def test_shrinking_goes_on_to_a_smaller_symptom_of_the_same_bug(tmp_path: Path) -> None:
    course = Course([law("found", breaks_in_two_ways, examples=50)])
    seen = list(measure([BUG], range(8), [course], tmp_path))
    assert any(record["first"]["headline"] == "LookupError: far too many" for record in seen)
    assert {record["case"]["python"] for record in seen} == {"10"}


def test_what_hypothesis_leaves_is_minimized(tmp_path: Path) -> None:
    """To Hypothesis the simplest is what was drawn of the least; to a reader it is what is smallest."""
    upside_down = NUMBERS.map(lambda number: 1000 - number)
    course = Course([law("found", breaks_above_9, examples=50, cases=upside_down)])
    (record,) = measure([BUG], [0], [course], tmp_path)
    assert (record["case"], record["shrunk"]) == ({"python": "10"}, True)


def dies(case: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(case: int) -> None:
    time.sleep(600)


@pytest.mark.parametrize(
    ("judge", "patience", "how"), [(dies, 300, "was killed by signal 9"), (hangs, 1, "hung for 1 s")]
)
def test_law_that_dies_or_hangs_is_told(
    judge: Callable[[int], None], patience: float, how: str, tmp_path: Path
) -> None:
    (record,) = measure([BUG], [0], [Course([law("lost", judge, examples=5)], patience=patience)], tmp_path)
    assert (record["state"], record["examples"]) == ("missed", 0)
    assert record["lost"] == [{"law": "lost", "how": how, "after": 1}]


def test_laws_go_on_when_one_dies(tmp_path: Path) -> None:
    course = Course([law("lost", dies, examples=50), law("found", breaks_above_9, examples=50)])
    (record,) = measure([BUG], [0], [course], tmp_path)
    assert (record["state"], record["law"]) == ("found", "found")
    assert [lost["law"] for lost in record["lost"]] == ["lost"]


def test_race_that_cannot_be_run_is_a_line_too_and_is_not_run_again(tmp_path: Path) -> None:
    not_here = Bug("not-here", "a bug of another torch", (Change("utils:_find_shard", "no such text", ""),), WITNESS)
    course = Course([law("holds", holds, examples=5)])
    first = list(measure([not_here, BUG], [0], [course], tmp_path))
    assert [(record["bug"], record["state"]) for record in first] == [("not-here", "lost"), (BUG.id, "missed")]
    assert read_results(tmp_path) == first
    assert list(measure([not_here, BUG], [0], [course], tmp_path)) == []
    with (tmp_path / RESULTS).open("a", encoding="utf-8") as file:
        file.write('{"bug": "cut o')  # by whoever was killed as it wrote
    (again,) = measure([BUG], [1], [course], tmp_path)
    assert read_results(tmp_path) == [*first, again]


TESTS = """
import unittest
from pathlib import Path
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata
from torch.distributed.checkpoint.resharding import _check_shard_metadata_pair_overlap

SEEN = Path({seen!r})


def test_holds():
    assert True


class TestBoxes(unittest.TestCase):
    def test_always_fails(self):
        assert False

    def test_flaky(self):
        SEEN.touch() if not SEEN.exists() else self.fail("seen")

    def test_overlap(self):
        one, other = (ChunkStorageMetadata([0, place], [1, 1]) for place in (0, 1))
        assert not _check_shard_metadata_pair_overlap(one, other)

    def test_would_fail_too(self):
        self.test_overlap()
"""


@pytest.mark.commands
@pytest.mark.thorough
def test_torch_tests_that_pass_twice_without_the_bug_look_for_it(tmp_path: Path) -> None:
    folder, said = tmp_path / "tests", list[str]()
    folder.mkdir()
    (folder / "test_boxes.py").write_text(TESTS.format(seen=str(tmp_path / "seen")))
    tests = steady_tests(folder, tmp_path / "runs", patience=300, show=said.append)
    steady = ["test_holds", "TestBoxes::test_overlap", "TestBoxes::test_would_fail_too"]
    assert tests.tests == [f"test_boxes::{name}" for name in steady]
    assert said[-2] == "without a bug, torch's own tests: 4 passed, 0 skipped, 1 failed in 1 files"
    assert said[-1].startswith("3 of them look for each bug, in ")
    (found,) = measure([BUG], [0, 1], [tests], tmp_path)
    assert (found["who"], found["state"], found["law"], found["examples"]) == (
        "torch's tests",
        "found",
        "test_boxes",
        2,
    )
    assert found["headline"] == "test_boxes::TestBoxes::test_overlap failed"
    assert found["cpu"] > 0


def test_command_measures_a_bug_and_tells_of_it(tmp_path: Path) -> None:
    options = ["--law=read_items", "--random", f"--into={tmp_path}"]
    done = run_python("-m", "campaign", "measure", BUG.id, *options, seconds=600)
    assert done.returncode == 0, done.stderr
    assert f"{BUG.id}, seed 0: found by read_items after " in done.stderr
    assert f"{BUG.id}, seed 0, by chance: found by read_items after " in done.stderr
    record, _ = read_results(tmp_path)
    assert record["state"] == "found"
    assert record["size"]["elements"] <= size_of(BUG.witness.case).elements + 4
    assert "\n1 of 1 races found the bug, 1 of 1 bugs" in done.stdout
    assert "\nby chance: 1 of 1 races found the bug, 1 of 1 bugs" in done.stdout
    assert f"| {BUG.id} | 1/1 |" in (tmp_path / "measure.md").read_text()
    assert "<polyline" in (tmp_path / "found.svg").read_text()


def test_command_lists_the_bugs_and_refuses_what_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "--list"]) == 0
    assert f"{BUG.id}: {BUG.title}\n" in capsys.readouterr().out
    assert main(["measure", "--without-laws"]) == 2
    assert "nobody looks for the bugs: give --random or --torch-tests" in capsys.readouterr().err


def test_size_is_what_a_reader_counts() -> None:
    halves = ChunkSharding(0, (0, 1))
    entries = (TensorEntry("a", (2, 3), saved=halves), TensorEntry("b"))
    scenario = Scenario(entries, save=Operation(2), faults=(Fault("save", 0, "writer.finish"),))
    assert counted(scenario) == (2, 2, 6, 1)
    assert counted(Scenario(save=Operation(members=(2,)))) == (3, 0, 0, 0)
    history = History((TensorEntry("a"),), (Save(operation=Operation(3)), Load()))
    assert counted(history) == (3, 1, 1, 0)
    assert counted(Plans(2, (Held(Item("a")), Held(Item("b"))))) == (2, 2, 1, 0)
    assert counted(Reads(Tiled((4,), (Box((0,), (4,)),)))) == (1, 1, 4, 0)
    assert counted(Training((Norm(), Norm()), saved=Side(parallelism=Parallelism(data=2), steps=1))) == (2, 2, 0, 0)
    assert counted(MeshLayout((4,), (3,), (Cut(),))) == (3, 1, 4, 0)
    assert counted(NestedState({"a": None, "b": None})) == (1, 2, 0, 0)
    assert counted(Quantized()) == counted(Quantized().scenario) == (1, 2, 2, 0)
    assert counted(Window()) == counted(Window().scenario) == (1, 4, 2, 0)


def counted(case: Any) -> tuple[int, int, int, int]:
    size: Size = size_of(case)
    return size.ranks, size.entries, size.elements, size.faults


def record(bug: str, seed: int, examples: int | None, elements: int = 1) -> dict[str, Any]:
    if examples is None:
        return {"bug": bug, "seed": seed, "state": "missed", "examples": 500, "cpu": 9.0}
    size = {"ranks": 1, "entries": 1, "elements": elements, "faults": 0, "letters": 9}
    return {
        "bug": bug,
        "seed": seed,
        "state": "found",
        "examples": examples,
        "cpu": 1.5,
        "law": "round_trip",
        "shrunk": elements < 6,
        "size": size,
    }


def test_table_tells_of_each_bug_over_its_seeds_and_of_all_of_them() -> None:
    bug = Bug("a", "bug a", (Change("utils:f", "", ""),), WITNESS)
    records = [record("a", 0, 10), record("a", 1, 30), record("b", 0, None), record("c", 0, 20, elements=6)]
    found = table(json.loads(json.dumps(records)), {"a": bug, "c": bug})
    text = list(lines(found))
    assert text[0].split() == ["bug", "found", "examples", "CPU", "s", "law", "size", "witness"]
    assert text[1].split() == ["a", "2/2", "20", "(10–30)", "1.5", "(1.5–1.5)", "round_trip", "1/1/1/0", "1/1/1/0"]
    assert text[2].split() == ["c", "1/1", "20", "1.5", "round_trip", "1/1/6/0", "!…", "1/1/1/0"]
    assert text[3].split() == ["b", "0/1"]
    assert text[-3:] == [
        "3 of 4 races found the bug, 2 of 3 bugs",
        "after 20 examples and 1.5 s of CPU in the median",
        "1 of 2 that were found became as small as the witness",
    ]
    assert "3 of 4 planted bugs found" in found_over_examples(records)


def test_table_and_plot_set_the_others_beside_the_laws() -> None:
    records = [record("a", 0, 10), record("b", 0, None), record("c", 0, 20)]
    found = {"seed": 0, "who": "by chance", "state": "found", "examples": 40, "cpu": 3.0, "law": "round_trip"}
    records += [{**found, "bug": "a"}, {**found, "bug": "d"}, {**record("c", 0, None), "who": "by chance"}]
    text = list(lines(table(records, {})))
    assert text[0].endswith("witness  found, by chance  examples, by chance  CPU s, by chance")
    assert text[1].split() == ["a", "1/1", "10", "1.5", "round_trip", "1/1/1/0", "!", "1/1", "40", "3"]
    assert text[2].split()[-1:] == ["0/1"]
    assert text[3].split() == ["b", "0/1"]
    assert text[4].split() == ["d", "1/1", "40", "3"]
    assert text[-5:] == [
        "0 of 2 that were found became as small as the witness",
        "by chance: 2 of 3 races found the bug, 2 of 3 bugs",
        "by chance: after 40 examples and 3 s of CPU in the median",
        "by chance: of the 2 bugs that the laws looked for too, both found 1, the laws alone 1, and it alone 0",
        "by chance: where both did, it took 4 times the examples and 2 times the CPU, in the median",
    ]
    assert found_over_examples(records).count("<polyline") == 3
