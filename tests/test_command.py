"""The command: what it answers, and the exit status that a cron job goes by."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from torch.distributed.checkpoint import state_dict_saver
from torch.distributed.checkpoint.filesystem import FileSystemReader

from campaign import doctor, reproduce
from campaign.cli import main
from campaign.entries import can_run, compare_entry
from campaign.opened import OpenedWorlds
from campaign.planted.plant import planted
from campaign.script import write_script
from properties import judge, summary
from properties.history_issues import HISTORY_ISSUES
from properties.known_issues import KNOWN_ISSUES
from properties.ledger import LedgerEntry
from properties.planning.known_issues import PLANNING_ISSUES
from properties.verdict import Verdict
from tests.warm_python import ROOT, run_python
from worlds import Damage, Fault, ObjectEntry, Operation, Scenario, Schedule, SimulatedWorld, TensorEntry


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "campaign", *arguments)


def verdict_of(scenario: Scenario, world: SimulatedWorld) -> Verdict:
    return judge(scenario, world.run(scenario))


def test_help_tells_the_verbs_and_what_the_exit_status_means(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for word in ("doctor", "known", "replay", "script", "Exit status:"):
        assert word in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "dcp-stress: error: No such command 'frobnicate'. See `dcp-stress --help`."),
        (["script"], "dcp-stress script: error: Missing argument 'ID|FILE'. See `dcp-stress script --help`."),
        (["script", "no-such-file"], "dcp-stress: error: 'no-such-file' is neither a file nor a known issue"),
        (["script", "LICENSE"], "dcp-stress: error: LICENSE: the scenario is no JSON"),
        (["script", "int-keys", "-o", "no/x"], "dcp-stress: error: cannot write no/x: No such file or directory"),
        (["replay", "tests"], "dcp-stress: error: tests holds no finding: it has no finding.json"),
        (["replay", "int-keys", "--world=real"], "dcp-stress replay: error: Invalid value for '--world': 'real' is"),
        (["replay", "int-keys", "--world=torchrun"], "dcp-stress: error: the torchrun world runs in a job of torchrun"),
        (["known", "none"], "dcp-stress: error: there is no known issue 'none': `dcp-stress known` lists them"),
    ],
)
def test_wrong_use_ends_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 2
    said = capsys.readouterr()
    [line] = said.err.splitlines()
    assert line.startswith(message)
    assert said.out == ""


def test_without_a_verb_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("Usage: dcp-stress ")


def test_script_is_written_of_a_scenario_and_of_an_entry(
    world: SimulatedWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = KNOWN_ISSUES["bits-dtypes"].scenario
    (tmp_path / "scenario.json").write_text(scenario.to_json(), encoding="utf-8")
    done = command("script", str(tmp_path / "scenario.json"), "-o", str(tmp_path / "reproduce.py"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    script = write_script(verdict_of(scenario, world))
    assert (tmp_path / "reproduce.py").read_text(encoding="utf-8") == script
    capsys.readouterr()
    assert main(["script", "bits-dtypes"]) == 0
    assert capsys.readouterr().out == script


def test_script_that_cannot_be_written_has_a_status_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    race = KNOWN_ISSUES["uncoordinated-overwrite"].scenario
    other = replace(race, save=replace(race.save, schedule=Schedule((1, 0))))
    (tmp_path / "scenario.json").write_text(other.to_json(), encoding="utf-8")
    assert main(["script", str(tmp_path / "scenario.json")]) == 3
    said = capsys.readouterr().err
    assert said == "dcp-stress: error: there is no script for a race in which rank 0 is not the first to save\n"


def test_script_tells_what_only_some_orders_of_ranks_show(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = replace(
        KNOWN_ISSUES["reset-unprotected"].scenario, save=Operation(2, schedule=Schedule((1, 0))), load=Operation(2)
    )
    issue = replace(KNOWN_ISSUES["reset-unprotected"], scenario=scenario)
    monkeypatch.setitem(summary.ENTRIES, "ordered", issue)
    assert main(["script", "ordered"]) == 0
    assert capsys.readouterr().err == "", "the natural order shows it as well"
    passes = verdict_of(Scenario(), world)
    run = reproduce._run
    monkeypatch.setattr(reproduce, "_run", lambda asked, world: run(asked, world) if asked is scenario else passes)
    assert main(["script", "ordered"]) == 0
    assert "note: this was seen with ranks in one order only" in capsys.readouterr().err


def test_known_says_that_an_entry_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["int-keys", "mixed-after-failure", "keys-become-text", "flipped-bit"]
    assert main(["known", *names]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[: len(names)]] == [["open", f"{name}:"] for name in names]
    assert lines[-1].split() == ["4", "open:", "the", "installed", "torch", "shows", "it"]


def test_every_entry_of_a_ledger_has_a_law_that_judges_it() -> None:
    """One of each class, and of planning all: what all of them show is the ledgers' own tests' affair."""
    of_class: dict[type[LedgerEntry], LedgerEntry] = {type(entry): entry for entry in summary.ENTRIES.values()}
    with OpenedWorlds() as opened:
        for entry in filter(can_run, [*of_class.values(), *PLANNING_ISSUES.values()]):
            assert compare_entry(entry, opened).state == "open", entry.id


PASSES = Scenario((TensorEntry("a"),))


@pytest.mark.parametrize(
    ("change", "state", "status", "seen"),
    [
        ({"scenario": PASSES}, "fixed", 1, "the laws hold"),
        ({"scenario": KNOWN_ISSUES["bits-dtypes"].scenario}, "not reproduced", 1, "known: bits-dtypes"),
        ({"fixed_in": (2, 13), "scenario": PASSES}, "not for this torch", 0, ""),
        ({"fixed_in": (2, 13)}, "open again", 1, ""),
    ],
)
def test_known_says_where_the_ledger_is_wrong(
    change: dict[str, object],
    state: str,
    status: int,
    seen: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    issue = replace(KNOWN_ISSUES["int-keys"], **change)  # type: ignore[arg-type]
    monkeypatch.setitem(summary.ENTRIES, "int-keys", issue)
    monkeypatch.setitem(KNOWN_ISSUES, "int-keys", issue)
    assert main(["known", "int-keys"]) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{state:18} int-keys: ")
    assert lines[1].strip() == seen


def test_known_goes_on_behind_an_entry_that_cannot_be_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    issue = replace(KNOWN_ISSUES["int-keys"], scenario=None)  # type: ignore[arg-type]
    monkeypatch.setitem(summary.ENTRIES, "int-keys", issue)
    assert main(["known", "int-keys", "bits-dtypes"]) == 3
    said = capsys.readouterr().out
    assert said.startswith("not run            int-keys: ")
    assert "\nopen               bits-dtypes: " in said


def test_replay_of_an_entry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("int-keys", "keys-become-text", next(iter(HISTORY_ISSUES))):
        assert main(["replay", name]) == 1
        assert capsys.readouterr().out == f"{name}: still there\nknown: {name}\n"
    fixed = replace(KNOWN_ISSUES["int-keys"], scenario=PASSES)
    monkeypatch.setitem(summary.ENTRIES, "int-keys", fixed)
    assert main(["replay", "int-keys"]) == 0
    assert capsys.readouterr().out == "int-keys: fixed\nthe laws hold\n"
    other = replace(fixed, scenario=KNOWN_ISSUES["bits-dtypes"].scenario)
    monkeypatch.setitem(summary.ENTRIES, "int-keys", other)
    assert main(["replay", "int-keys"]) == 4
    assert capsys.readouterr().out == "int-keys: different\nknown: bits-dtypes\n"


def test_replay_of_a_scenario_in_two_worlds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scenario.json"
    path.write_text(Scenario((ObjectEntry("a"),), faults=(Fault("save", 0, "writer.finish"),)).to_json())
    assert main(["replay", str(path)]) == 0
    assert "fixed" in capsys.readouterr().out
    swallowed = "import contextlib\n        with contextlib.suppress(BaseException):\n            "
    line = "storage_writer.finish(metadata=global_metadata, results=all_results)"
    with planted(state_dict_saver, "_save_state_dict", line, swallowed + line):
        assert main(["replay", str(path)]) == 1
    said = capsys.readouterr().out
    assert "still there\nsave: rank 0 failed in writer.finish (OSError, through the call)" in said
    assert main(["replay", str(path), "--world=processes"]) == 0


def test_replay_of_a_scenario_with_damage_goes_by_the_law_on_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.json"
    scenario = Scenario((TensorEntry("a", (4,)),), damages=(Damage("missing"),))
    path.write_text(scenario.to_json())
    assert main(["replay", str(path)]) == 0
    with planted(FileSystemReader, "read_data", "for relative_path, reqs in", "for relative_path, reqs in () and"):
        assert main(["replay", str(path)]) == 1
    assert "still there" in capsys.readouterr().out


@pytest.mark.commands
@pytest.mark.thorough
def test_replay_on_the_ranks_of_a_job() -> None:
    """The one that hangs, so that the job must end all the same."""
    job = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--local-addr=127.0.0.1", "--standalone"]
    arguments = ["-m", "campaign", "replay", "unpicklable-exception", "--world=torchrun"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, *job, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "unpicklable-exception: still there\nknown: unpicklable-exception\n" in done.stdout, done.stderr
    assert done.returncode == 1
    assert "exitcode: 1" in " ".join(done.stderr.split()), "of rank 0, and of the job for it"


def test_doctor_says_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for what in ("ok  loopback", "ok  world simulated", "ok  world processes", "ok  temporary files", "    python"):
        assert any(line.startswith(what) for line in lines), lines


def test_doctor_says_what_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    def broken() -> None:
        raise RuntimeError("no\nthreads")

    monkeypatch.setattr(doctor, "_write", refuses)
    monkeypatch.setattr(socket, "create_server", refuses)
    monkeypatch.setattr(doctor, "SimulatedWorld", broken)
    monkeypatch.setattr(doctor, "ProcessWorld", broken)
    monkeypatch.setattr(doctor, "_PACKAGES", ("no-such-package",))
    assert main(["doctor"]) == 3
    said = capsys.readouterr().out
    assert "NO  loopback         no port can be bound and reached, which real ranks need: Read-only file system" in said
    assert "cannot be written, synchronised and renamed in: Read-only file system" in said
    assert "NO  world simulated  does not run, so that nothing can be stressed: RuntimeError: no threads" in said
    assert "NO  no-such-package  is not installed: pip install no-such-package" in said


def test_doctor_finds_a_torch_that_cannot_save(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "ProcessWorld", SimulatedWorld)  # in whose processes there is no planted bug
    with planted(FileSystemReader, "read_data", "target_tensor.copy_(tensor)", "pass"):
        assert main(["doctor"]) == 3
    assert "NO  world simulated  a plain save and load breaks a law: load: 'a'" in capsys.readouterr().out
