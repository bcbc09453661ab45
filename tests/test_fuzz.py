"""A campaign finds what is planted, keeps it once, and draws the same in any number of processes."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from torch.distributed.checkpoint.filesystem import FileSystemReader

from campaign.cli import main
from campaign.finding import Finding, read_finding, see_again
from campaign.folder import Folder
from campaign.laws import Law
from campaign.logs import Record
from campaign.opened import OpenedWorlds
from campaign.planted.bug import Bug, Change, Witness, plant
from campaign.planted.catalogue import CATALOGUE
from campaign.slot import Slot, read_slot
from campaign.tally import Tally, how_often
from campaign.unit import Unit
from campaign.watch import Watch
from properties.planning.breach import WrongItems, WrongRead
from tests.campaigns import ROOT, fuzz
from tests.planted_workers import BLIND, DROPPED, plant_in_processes
from tests.script_runs import Plant, run_script
from worlds import Operation, Outcome, Scenario, TensorEntry
from worlds.codec import from_json
from worlds.histories import History, Save
from worlds.plans import Box
from worlds.rebuilding import Rebuilding
from worlds.side_by_side import SideBySide

judge_module = importlib.import_module("properties.judge")  # whose name the package gives to its function


@pytest.mark.commands
@pytest.mark.thorough
def test_planted_bug_is_found_once_kept_and_shown(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It breaks laws in up to four ways, each of which is one finding.

    The metadata lie, or the save fails, for they lack a chunk, or it cannot be loaded, or a part of it is not loaded.
    """
    monkeypatch.setenv("PYTHONPATH", str(plant_in_processes([DROPPED], tmp_path / "planted")))
    assert fuzz(into, "round_trip", "--units=1", "--max-examples=60", "--max-time=5m") == 1
    said = capsys.readouterr()
    tally = Folder(into).tally()
    names = {name.partition("-")[0]: name for name in tally.findings}
    ways = Counter((finding.group["kind"], finding.group["operation"]) for finding in tally.findings.values())
    assert set(ways) <= {
        ("MetadataWrong", "metadata"),
        ("UnexpectedFailure", "save"),
        ("UnexpectedFailure", "load"),
        ("NotLoaded", "load"),
    }
    assert len(ways) > 1
    assert set(ways.values()) == {1}
    for name in tally.findings:
        assert said.out.count(f"NEW {name}, {how_often(tally.violations[name])}: ") == 1
        assert said.err.count(f"NEW {name}: ") == 1
        assert read_finding(into / "findings" / name) == tally.findings[name]
    name = names["MetadataWrong"]
    assert tally.violations[name] > 10, "of which the first one is shrunk, and the others are counted"
    own = into / "findings" / name
    finding = read_finding(own)
    assert (finding.law, finding.shrunk, finding.flaky) == ("round_trip", True, False)
    scenario = finding.read_case()
    assert scenario == Scenario.from_json((own / "scenario.json").read_text())
    assert len(scenario.entries) == 1
    assert (own / "example.py").read_text() == f"@example(scenario={scenario!r})\n"
    assert (own / "violation.txt").read_text().startswith("MetadataWrong: metadata: names tensors [] and objects []")
    assert from_json((own / "outcome.json").read_text(), Outcome).save.returned
    _check_replays(own, capsys)
    _check_stored(finding, into / "findings", capsys, monkeypatch)
    _check_script((own / "reproduce.py").read_text(), tmp_path)


def _check_replays(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(own)]) == 0
    assert capsys.readouterr().out.endswith(": fixed\nthe laws hold\n")
    with plant(DROPPED):
        for what in (own, own / "finding.json", own / "scenario.json"):
            assert main(["replay", str(what)]) == 1
            assert "still there\n" in capsys.readouterr().out
        assert main(["script", str(own)]) == 0
    assert capsys.readouterr().out == (own / "reproduce.py").read_text()


def _check_stored(
    finding: Finding, findings: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen then, in a torch that has no bug now; and an oracle that takes another view of it."""
    own = str(findings / finding.id)
    assert main(["replay", own, "--stored"]) == 1
    assert capsys.readouterr().out.startswith(f"{own}: still there\nMetadataWrong: metadata: names tensors []")
    with monkeypatch.context() as newer:
        newer.setattr(judge_module, "judge_metadata", lambda *_: iter(()))
        assert main(["replay", own, "--stored"]) == 4
        assert ": different\n" in capsys.readouterr().out
    assert main(["replay", str(findings / finding.id / "scenario.json"), "--stored"]) == 2
    assert "nothing is stored of it" in capsys.readouterr().err


@pytest.mark.slow
def test_rare_bug_is_found_shrunk_grouped_once_and_shown(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors of one dtype, of three dims and at least two rows, are not loaded.

    That was 9 of 5,000 examples with one seed, and 1 of 10,000 with another.
    """
    old = "target_tensor.copy_(tensor)"
    new = f"{old} if (tensor.dtype, tensor.dim()) != (torch.float64, 3) or tensor.size(0) < 2 else None"
    rare = Bug("", "", (Change("filesystem:FileSystemReader.read_data", old, new),), Witness("round_trip", None))
    monkeypatch.setenv("PYTHONPATH", str(plant_in_processes([rare], tmp_path / "planted")))
    assert fuzz(into, "round_trip", "--units=1", "--max-examples=5000", "--max-time=1h") == 1
    tally = Folder(into).tally()
    # Torch may have another bug that is as rare.
    [finding] = [found for found in tally.findings.values() if found.group["kind"] == "NotLoaded"]
    times = tally.violations[finding.id]
    print(f"{times} of {tally.examples} examples showed it")
    assert (tally.examples, finding.group["kind"], finding.shrunk) == (5000, "NotLoaded", True)
    assert 1 <= times < 25, "it is rare"
    [entry] = finding.read_case().entries
    assert (entry.dtype, entry.shape) == ("float64", (2, 1, 1))
    assert finding.script is not None
    forgetting = Plant(f"{FileSystemReader.__module__}:FileSystemReader", "read_data", old, new)
    for name, plants, status in (("with", [forgetting], 1), ("without", [], 0)):
        (tmp_path / name).mkdir()
        run = run_script(finding.script, tmp_path / name, plants=plants)
        assert run.status == status, run.output


@pytest.mark.slow
def test_replay_of_every_finding_gives_the_same_verdict_each_time(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred times, in the world in which it was found: of what is lost, wrong, and waits for ever."""
    laws = ("round_trip", "blame_at_save", "blame_at_load")
    bugs = [bug for law in laws for bug in CATALOGUE.values() if bug.witness.law == law][::8]
    found = 0
    for number, bug in enumerate(bugs):
        with monkeypatch.context() as planting:
            planting.setenv("PYTHONPATH", str(plant_in_processes([bug], tmp_path / f"planted-{number}")))
            directory = into / str(number)
            arguments = [bug.witness.law, "--units=1", "--max-examples=100", "--max-time=10m"]
            assert fuzz(directory, *arguments) in (0, 1)
        with plant(bug), OpenedWorlds() as opened:
            for finding in Folder(directory).tally().findings.values():
                found += 1
                seen = Counter(see_again(finding, opened) for _ in range(100))
                assert len(seen) == 1, (finding.id, seen)
                assert next(iter(seen))[0] == "still there"
    print(f"{found} findings of {len(bugs)} planted bugs, each 100 times")
    assert found > len(bugs) / 2, "some of them are rare"


def _check_script(script: str, directory: Path) -> None:
    [change] = DROPPED.changes
    owner, function = change.target()
    dropping = Plant(owner.__name__, function, change.old, change.new)
    for name, plants, status in (("with", [dropping], 1), ("without", [], 0)):
        (directory / name).mkdir()
        run = run_script(script, directory / name, plants=plants)
        assert run.status == status, run.output


@pytest.mark.commands
@pytest.mark.thorough
def test_what_an_earlier_campaign_found_is_tried_first_and_is_not_new(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["comparison", "--units=1", "--max-examples=60", f"--findings={tmp_path / 'kept'}"]
    monkeypatch.setenv("PYTHONPATH", str(plant_in_processes([BLIND], tmp_path / "planted")))
    assert fuzz(into, *arguments) == 1
    names = Folder(into).tally().findings
    assert len(names) == 2, "plans are taken for those that are not the same, and for placeholders"
    capsys.readouterr()
    assert fuzz(tmp_path / "next", *arguments) == 0
    said = capsys.readouterr().out
    assert all(f"still there: {name}, found before: WrongComparison: " in said for name in names)
    assert not Folder(tmp_path / "next").tally().findings


@pytest.mark.commands
@pytest.mark.thorough
def test_campaign_draws_the_same_with_any_number_of_workers(tmp_path: Path) -> None:
    tallies = []
    for workers in (1, 2):
        into = tmp_path / str(workers)
        arguments = ["--units=2", "--max-examples=40", "--max-time=5m", f"--workers={workers}", "--seed=7"]
        assert main(["fuzz", "merge", "chunk_spec", "default_metadata", *arguments, "--into", str(into)]) == 0
        tallies.append(Folder(into).tally())
    one, other = map(_drawn, tallies)
    assert one == other
    assert tallies[0].examples == 3 * 2 * 40


@pytest.mark.commands
@pytest.mark.thorough
def test_shards_together_are_one_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With findings too, which the second unit of the whole knows, and that of a shard does not."""
    monkeypatch.setenv("PYTHONPATH", str(plant_in_processes([BLIND], tmp_path / "planted")))
    arguments = ["comparison", "chunk_spec", "--max-examples=40"]
    assert fuzz(tmp_path / "whole", *arguments, "--units=3") == 1
    shards = [tmp_path / str(number) for number in (1, 2, 3)]
    for number, shard in enumerate(shards):
        assert fuzz(shard, *arguments, "--units=1", f"--shard={number + 1}/3") == 1
    assert main(["merge", *map(str, shards), "--into", str(tmp_path / "merged")]) == 1
    whole, merged = Folder(tmp_path / "whole").tally(), Folder(tmp_path / "merged").tally()
    assert whole.examples == 2 * 3 * 40
    assert len(whole.findings) == 2
    assert _drawn(merged) == _drawn(whole)


def _drawn(tally: Tally) -> object:
    laws = {name: (law.examples, law.behaviours, law.known, law.violations) for name, law in tally.laws.items()}
    return laws, tally.features, tally.drawn, set(tally.findings)


def test_finding_is_written_down_before_it_is_shrunk_and_only_its_group_is_raised(tmp_path: Path) -> None:
    """So that a worker which is killed while it shrinks takes nothing with it."""
    raised = {Box((0,), (1,)): "1 is lost", Box((1,), (1,)): "2 is lost", Box((2,), (1,)): ""}

    def inner(case: Box) -> None:
        text = raised.get(case)
        if text is None:
            return
        raise (WrongItems(text) if text else WrongRead("3 is read twice"))

    records: list[Record] = []
    law = Law("boxes", "properties.planning.test_boxes", None, inner)
    watch = Watch(law, Unit("boxes-0", "boxes", 5, 60), Slot(tmp_path / "slot"), records.append, set())
    with pytest.raises(WrongItems):
        watch(case=Box((0,), (1,)))
    [record] = records
    finding = Finding.from_data(record["finding"])
    assert (finding.law, finding.violation, finding.shrunk) == ("boxes", "1 is lost", False)
    assert finding.python == "@example(case=Box((0,), (1,)))"
    watch(case=Box((2,), (1,)))  # of another group, which is not to get in the way
    with pytest.raises(WrongItems):
        watch(case=Box((1,), (1,)))
    found = watch.found(OpenedWorlds())
    assert (found.case, found.shrunk) == (Box((0,), (1,)), True)  # which was not raised while Hypothesis shrank
    watch(case=Box((0,), (1,)))  # drawn again, and counted already
    with pytest.raises(WrongRead):
        watch(case=Box((2,), (1,)))
    assert watch.found(OpenedWorlds()).case == Box((2,), (1,))
    for case in (Box((0,), (1,)), Box((2,), (1,)), *raised):
        watch(case=case)
    at = read_slot(tmp_path / "slot")
    assert at is not None
    assert (at.case, at.pending["examples"]) == (Box((2,), (1,)), 5)
    assert at.pending["shrinking"] > 2
    watch.flush()
    assert records[-1]["violations"] == {finding.id: 3, Finding.from_data(records[1]["finding"]).id: 2}


def test_what_hypothesis_leaves_is_minimized_as_long_as_it_is_of_the_group(tmp_path: Path) -> None:
    def inner(case: Scenario) -> None:
        if case.entries:
            raise WrongItems("1 is lost") if case.save.world_size > 1 else WrongRead("1 is read twice")

    records: list[Record] = []
    law = Law("scenarios", "properties.test_scenarios", None, inner)
    watch = Watch(law, Unit("scenarios-0", "scenarios", 5, 60), Slot(tmp_path / "slot"), records.append, set())
    with pytest.raises(WrongItems):
        watch(case=Scenario((TensorEntry("a", (2,)), TensorEntry("b")), Operation(3), Operation(2)))
    found = watch.found(OpenedWorlds())
    assert (found.case, found.shrunk) == (Scenario((TensorEntry("a"),), Operation(2)), True)
    watch.flush()
    assert records[-1]["shrinking"] > 3


@pytest.mark.parametrize(
    ("case", "other"),
    [
        (Rebuilding(), Rebuilding(Scenario((TensorEntry("a"),)))),
        (History((), (Save(),)), History((TensorEntry("a"),), (Save(),))),
        (SideBySide(), SideBySide(replace(SideBySide().one, entries=(TensorEntry("a"),)))),
    ],
    ids=["rebuilding", "history", "side by side"],
)
def test_case_shows_what_the_scenarios_show_that_it_is_built_on(tmp_path: Path, case: object, other: object) -> None:
    """Though its law does not count that as judged: else there would soon be nothing new, and no more time for it."""
    records: list[Record] = []
    law = Law("cases", "properties.test_cases", None, lambda case: None)
    watch = Watch(law, Unit("cases-0", "cases", 5, 60), Slot(tmp_path / "slot"), records.append, set())
    for each in (case, case, other):
        watch(case=each)
        watch.flush()
    first, again, more = (set(record["behaviours"]) for record in records)
    assert first
    assert not again
    assert more
    assert records[-1]["features"] == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_law"], "there is no law 'no_such_law', only "),
        (["order_of_ranks", "--world=processes"], "the law order_of_ranks makes sense in the simulated world alone"),
        (["--max-time=soon"], "'soon' is no duration: write 90s, 10m, 1h30m or 2d"),
        (["--shard=3/2"], "'3/2' is no shard: write i/n, with i from 1 to n"),
        (["--shard=1/2"], "the shards of a campaign need one seed: say --seed=N in each of them"),
        (["--into=tests"], "tests is there already: go on with --resume tests, or name another directory"),
        (["--resume=tests"], "tests is no campaign: it has no campaign.json"),
    ],
)
def test_wrong_use_ends_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["fuzz", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dcp-stress: error: {message}")
