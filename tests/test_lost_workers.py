"""A campaign loses nothing when its workers die or hang, or it is killed or interrupted itself."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from campaign.cli import main
from campaign.engine import Engine
from campaign.finding import read_finding
from campaign.folder import Folder, Plan
from tests.campaigns import campaign, fuzz, plant_counter, until, workers_of
from tests.planted_workers import DROPPED, plant_in_processes


@pytest.mark.commands
@pytest.mark.thorough
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


@pytest.mark.commands
@pytest.mark.thorough
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
        assert finding.script is not None or finding.no_script.endswith(" yet"), "what is not shrunk may have none"
    assert len(tally.findings[first].read_case().entries) == 1
    assert 0 < tally.examples + tally.shrinking <= ran + 2


def shorten(into: Path, seconds: float) -> None:
    """Let the campaign have so much time and no more."""
    plan = replace(Folder(into).plan(), seconds=seconds)
    (into / "campaign.json").write_text(json.dumps(plan.to_data()))


@pytest.mark.commands
@pytest.mark.thorough
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


def test_campaign_that_is_under_way_is_not_driven_twice(into: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Folder(into).create(Plan(("a",), "simulated", 600, 2, 0))
    with Folder(into).held():
        assert main(["fuzz", "--resume", str(into)]) == 2
    assert "is under way: wait for it, or interrupt it" in capsys.readouterr().err
