"""A campaign finds what is planted, groups it once, keeps it, and loses nothing when it is killed."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from torch.distributed.checkpoint import planner_helpers
from torch.distributed.checkpoint.filesystem import FileSystemReader

from campaign.cli import main
from campaign.engine import Engine
from campaign.finding import Finding, read_finding, see_again
from campaign.folder import Folder, Plan
from campaign.laws import Law
from campaign.logs import Record
from campaign.opened import OpenedWorlds
from campaign.planted.plant import planted
from campaign.schedule import Schedule, shares
from campaign.slot import Slot, read_slot
from campaign.tally import LawTally, Tally
from campaign.unit import Unit
from campaign.watch import Watch
from properties.planning.breach import WrongItems, WrongRead
from tests.planted_bugs import CORE_BUGS, Bug
from tests.planted_workers import plant_in_processes
from tests.script_runs import Plant, run_script
from worlds import Outcome, Scenario, TensorEntry
from worlds.codec import from_json
from worlds.histories import History, Save
from worlds.plans import Box
from worlds.rebuilding import Rebuilding
from worlds.side_by_side import SideBySide

ROOT = Path(__file__).parents[1]
judge_module = importlib.import_module("properties.judge")  # whose name the package gives to its function
DROPPED = next(bug for bug in CORE_BUGS if bug.id == "a dropped write item")

# Each process that has this counts, in a file, the scenarios that it begins to run, and does what else a test wants.
COUNTING = """
import os, time, worlds
calls, run = 0, worlds.SimulatedWorld.run
def counted(self, scenario):
    global calls
    calls += 1
    with open({path!r}, "ab", buffering=0) as stream:
        stream.write(b".")
    {more}
    return run(self, scenario)
worlds.SimulatedWorld.run = counted
"""


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """The directory of the campaign."""
    return tmp_path / "campaign"


def fuzz(into: Path, *arguments: str) -> int:
    return main(["fuzz", *arguments, "--into", str(into), "--workers=1", "--seed=1"])


def plant_counter(directory: Path, more: str = "") -> Path:
    """Make ``directory`` one that counts, and return the file that a byte is added to for each scenario."""
    directory.mkdir()
    path = directory / "count"
    path.touch()
    (directory / "sitecustomize.py").write_text(COUNTING.format(path=str(path), more=more))
    return path


@contextmanager
def campaign(arguments: Sequence[str], planted_in: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own; what is left of it is killed at the end."""
    path = os.pathsep.join(map(str, [ROOT, *([planted_in] if planted_in else [])]))
    process = subprocess.Popen(
        [sys.executable, "-m", "campaign", "fuzz", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(holds: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < end
        time.sleep(0.05)


def workers_of(process: int) -> list[int]:
    task = Path(f"/proc/{process}/task")
    if not task.is_dir():
        pytest.skip("the system does not tell")
    return [int(child) for one in task.iterdir() for child in (one / "children").read_text().split()]


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
        assert said.out.count(f"NEW {name}, {tally.violations[name]} times: ") == 1
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
    with planted(DROPPED.owner, DROPPED.function, DROPPED.old, DROPPED.new):
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
    rare = Bug("", FileSystemReader, "read_data", old, new, "", ())
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
    plant = Plant(f"{FileSystemReader.__module__}:FileSystemReader", "read_data", old, new)
    for name, plants, status in (("with", [plant], 1), ("without", [], 0)):
        (tmp_path / name).mkdir()
        run = run_script(finding.script, tmp_path / name, plants=plants)
        assert run.status == status, run.output


@pytest.mark.slow
def test_replay_of_every_finding_gives_the_same_verdict_each_time(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred times, in the world in which it was found: of what is lost, wrong, and waits for ever."""
    laws = {"nothing": "round_trip", "save": "blame_at_save", "load": "blame_at_load"}
    bugs = [bug for bug in CORE_BUGS if bug.failing in laws and not bug.mismatched]
    found = 0
    for number, bug in enumerate(bugs):
        with monkeypatch.context() as planting:
            planting.setenv("PYTHONPATH", str(plant_in_processes([bug], tmp_path / f"planted-{number}")))
            directory = into / str(number)
            arguments = [laws[bug.failing], "--units=1", "--max-examples=100", "--max-time=10m"]
            assert fuzz(directory, *arguments) in (0, 1)
        with planted(bug.owner, bug.function, bug.old, bug.new), OpenedWorlds() as opened:
            for finding in Folder(directory).tally().findings.values():
                found += 1
                seen = Counter(see_again(finding, opened) for _ in range(100))
                assert len(seen) == 1, (finding.id, seen)
                assert next(iter(seen))[0] == "still there"
    print(f"{found} findings of {len(bugs)} planted bugs, each 100 times")
    assert found > len(bugs) / 2, "some of them are rare"


def _check_script(script: str, directory: Path) -> None:
    plant = Plant(DROPPED.owner.__name__, DROPPED.function, DROPPED.old, DROPPED.new)
    for name, plants, status in (("with", [plant], 1), ("without", [], 0)):
        (directory / name).mkdir()
        run = run_script(script, directory / name, plants=plants)
        assert run.status == status, run.output


@pytest.mark.thorough
def test_what_an_earlier_campaign_found_is_tried_first_and_is_not_new(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["comparison", "--units=1", "--max-examples=60", f"--findings={tmp_path / 'kept'}"]
    blind = Bug("", planner_helpers, "_compare_save_plans", "return False", "return True", "", ())
    monkeypatch.setenv("PYTHONPATH", str(plant_in_processes([blind], tmp_path / "planted")))
    assert fuzz(into, *arguments) == 1
    names = Folder(into).tally().findings
    assert len(names) == 2, "plans are taken for those that are not the same, and for placeholders"
    capsys.readouterr()
    assert fuzz(tmp_path / "next", *arguments) == 0
    said = capsys.readouterr().out
    assert all(f"still there: {name}, found before: WrongComparison: " in said for name in names)
    assert not Folder(tmp_path / "next").tally().findings


def test_nothing_is_lost_when_a_worker_is_killed_and_then_the_campaign(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    count = plant_counter(tmp_path / "planted")

    def ran() -> int:
        return count.stat().st_size

    arguments = ["round_trip", "--into", str(into), "--workers=1", "--max-time=60s"]
    with campaign(arguments, tmp_path / "planted") as process:
        until(lambda: ran() > 10, process)
        [worker] = workers_of(process.pid)
        os.kill(worker, signal.SIGKILL)
        before = ran()
        until(lambda: ran() > before + 10, process)
        [second] = workers_of(process.pid)
        process.kill()
        process.wait()
        end = time.monotonic() + 30
        while Path(f"/proc/{second}").exists():
            assert time.monotonic() < end, "a worker ends with its campaign"
            time.sleep(0.05)
    left = [path for each in (worker, second) for path in Path("/dev/shm").glob(f"dcp-stress-{each}-*")]
    assert not left, "no checkpoint of a worker is left"
    stopped_at = ran()
    shorten(into, Folder(into).tally().elapsed + 1)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "planted"))
    assert main(["fuzz", "--resume", str(into)]) == 1, "a worker that was killed is news"
    said = capsys.readouterr().out
    assert ran() > stopped_at, said
    tally = Folder(into).tally()
    # Each kill may come between the note that an example begins and its beginning.
    assert ran() <= tally.examples <= ran() + 2, said
    assert f"\n{tally.examples} examples in " in said
    # The second worker ends by itself, unless it is slow.
    assert [lost.how for lost in tally.lost] in (
        ["killed by signal 9"],
        ["killed by signal 9", "the campaign was killed"],
    )
    assert all(lost.case for lost in tally.lost)
    assert not tally.open_units
    judged = sum(tally.features[f"api: {name}"] for name in ("save", "save_state_dict", "async_save"))
    assert judged > tally.examples / 2, "what was counted since the last line of the log is not lost either"


def test_finding_is_not_lost_when_whoever_shrinks_it_is_killed(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """First the worker, and then the campaign, in which another worker shrinks the next one; a third one ends it."""
    count = plant_counter(tmp_path / "planted", more="time.sleep(0.03)")
    plant = (tmp_path / "planted" / "sitecustomize.py").read_text()
    plant_in_processes([DROPPED], tmp_path / "planted")
    with (tmp_path / "planted" / "sitecustomize.py").open("a") as stream:
        stream.write(plant)

    def shrinking() -> set[str]:
        return {finding.id for finding in Folder(into).tally().findings.values() if finding.is_sighting}

    arguments = ["round_trip", "--into", str(into), "--workers=1", "--max-time=5m", "--seed=1"]
    with campaign(arguments, tmp_path / "planted") as process:
        until(lambda: bool((into / "log").is_dir() and shrinking()), process)
        [first] = shrinking()
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        until(lambda: first in Folder(into).tally().finishing, process)
        until(lambda: bool(shrinking() - {first}), process)
        sightings = shrinking()
        process.kill()
        process.wait()
        time.sleep(1)  # in which its worker ends, or goes on without being heard
    shorten(into, 1)
    (tmp_path / "planted" / "sitecustomize.py").write_text("")
    plant_in_processes([DROPPED], tmp_path / "planted")
    ran = count.stat().st_size
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "planted"))
    assert main(["fuzz", "--resume", str(into)]) == 1
    said = capsys.readouterr().out
    tally = Folder(into).tally()
    assert sightings <= set(tally.findings)
    assert not shrinking(), said
    for name in sightings:
        finding = read_finding(into / "findings" / name)
        assert finding == tally.findings[name]
        assert finding.script is not None
    assert len(tally.findings[first].read_case().entries) == 1
    assert 0 < tally.examples + tally.shrinking <= ran + 2


def shorten(into: Path, seconds: float) -> None:
    """Let the campaign have so much time and no more."""
    plan = replace(Folder(into).plan(), seconds=seconds)
    (into / "campaign.json").write_text(json.dumps(plan.to_data()))


def test_worker_that_hangs_loses_its_unit_and_an_interrupt_ends_with_a_summary(into: Path, tmp_path: Path) -> None:
    hangs = f"time.sleep(1000 if os.path.getsize({str(tmp_path / 'planted' / 'count')!r}) == 5 else 0)"
    count = plant_counter(tmp_path / "planted", more=hangs)
    arguments = ["round_trip", "--into", str(into), "--workers=1", "--patience=10s"]
    with campaign(arguments, tmp_path / "planted") as process:
        until(lambda: count.stat().st_size > 8, process)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said
    tally = Folder(into).tally()
    [lost] = tally.lost
    assert (lost.how, lost.law) == ("hung, and was killed", "round_trip")
    assert lost.case is not None
    assert "json" in lost.case
    assert "LOST unit round_trip-0 of round_trip: its worker hung, and was killed" in said
    assert tally.examples == count.stat().st_size
    assert f"\n{tally.examples} examples in " in said
    assert not tally.open_units
    assert (into / "report.html").exists()


def test_interrupt_before_anything_new_has_a_status_of_its_own(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "run", lambda _: True)
    assert fuzz(into, "round_trip") == 130


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


@pytest.mark.thorough
def test_shards_together_are_one_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With findings too, which the second unit of the whole knows, and that of a shard does not."""
    blind = Bug("", planner_helpers, "_compare_save_plans", "return False", "return True", "", ())
    monkeypatch.setenv("PYTHONPATH", str(plant_in_processes([blind], tmp_path / "planted")))
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
        text = raised[case]
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
    assert watch.found().case == Box((1,), (1,))
    watch(case=Box((0,), (1,)))  # drawn again, and counted already
    with pytest.raises(WrongRead):
        watch(case=Box((2,), (1,)))
    watch.found()
    for case in (Box((0,), (1,)), Box((2,), (1,)), *raised):
        watch(case=case)
    at = read_slot(tmp_path / "slot")
    assert at is not None
    assert (at.case, at.pending["examples"], at.pending["shrinking"]) == (Box((2,), (1,)), 5, 2)
    watch.flush()
    assert records[-1]["violations"] == {finding.id: 3, Finding.from_data(records[1]["finding"]).id: 2}


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


PLAN = Plan(("a", "b", "c"), "simulated", 600, 2, 0)


def _tally(**fresh: float) -> Tally:
    return Tally(laws={name: LawTally(units=1, seconds=10, fresh=rate) for name, rate in fresh.items()})


def test_time_goes_where_new_behaviour_appears_and_every_law_has_its_floor() -> None:
    given = shares(PLAN.laws, _tally(a=0, b=1, c=9).laws, 0.5)
    assert sum(given.values()) == pytest.approx(1)
    assert 0.5 / 3 < given["a"] < 0.2
    assert given["c"] - 0.5 / 3 == pytest.approx(3 * (given["b"] - 0.5 / 3), rel=0.02)
    assert shares(PLAN.laws, _tally(a=0, b=0, c=0).laws, 0.5) == pytest.approx(dict.fromkeys(PLAN.laws, 1 / 3))


def test_units_have_seeds_of_their_own_and_shards_share_them_out() -> None:
    units: dict[int, list[Unit]] = {}
    for shard in (1, 2):
        plan = replace(PLAN, shard=shard, shards=2, units=3)
        schedule = Schedule(plan, Tally())
        units[shard] = [unit for unit in iter(lambda: schedule.next(5), None) if unit is not None]  # noqa: B023
    alone = Schedule(replace(PLAN, units=6), Tally())
    every = [unit for unit in iter(lambda: alone.next(5), None) if unit is not None]
    assert {(unit.law, unit.seed) for shard in units.values() for unit in shard} == {
        (unit.law, unit.seed) for unit in every
    }
    assert len({unit.seed for unit in every}) == len(every) == 18


def test_law_whose_units_are_lost_or_fail_does_not_have_all_the_time() -> None:
    tally = Tally()
    schedule = Schedule(PLAN, tally)
    given = []
    for _ in range(30):
        unit = schedule.next(5)
        assert unit is not None
        given.append(unit.law)
        tally.add({"is": "begin", "unit": unit.id, "law": unit.law})
        if unit.law == "a":
            tally.add({"is": "lost", "unit": unit.id, "law": "a", "how": "killed", "case": None})
            schedule.lost(unit.id)
        else:
            counted: dict[str, object] = dict.fromkeys(
                ("features", "faults", "known", "violations", "drawn", "behaviours"), ()
            )
            tally.add({"is": "progress", "unit": unit.id, "n": 1, "examples": 1, "seconds": 5.0, **counted})
            tally.add({"is": "end", "unit": unit.id, "error": "it fails" if unit.law == "b" else ""})
            schedule.ended(unit.id)
    assert given.count("b") == 3, "in which the tester itself failed"
    assert given.count("a") <= 16


def test_campaign_whose_workers_cannot_start_ends_in_one_line(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'campaign.worker' in sys.orig_argv: sys.exit('no memory')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert fuzz(into, "round_trip") == 3
    assert capsys.readouterr().err.endswith("dcp-stress: error: no worker can start: SystemExit: no memory\n")
    assert len(list((into / "log").glob("*.stderr"))) == 3


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


def test_campaign_that_is_under_way_is_not_driven_twice(into: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Folder(into).create(PLAN)
    with Folder(into).held():
        assert main(["fuzz", "--resume", str(into)]) == 2
    assert "is under way: wait for it, or interrupt it" in capsys.readouterr().err
