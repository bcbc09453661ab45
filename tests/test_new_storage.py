"""The template for authors of storages, as a new user has it: written out and run, working and with a part missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from campaign.cli import main

ROOT = Path(__file__).parents[1]


def _run(directory: Path) -> subprocess.CompletedProcess[str]:
    """The template's test, as in an environment that dcp-stress is installed in."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", "-W", "error"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, "test_my_storage.py"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.commands
@pytest.mark.thorough
def test_template_passes_until_its_storage_lacks_a_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own"
    assert main(["new-storage", str(own)]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.relative_to(own).as_posix() for path in written] == [
        "my_storage.py",
        "test_my_storage.py",
        ".github/workflows/storage.yml",
    ]
    assert sum(len(path.read_text().splitlines()) for path in written) < 45
    _change(own / "test_my_storage.py", "--max-examples=50", "--max-examples=3")
    _change(own / "test_my_storage.py", '"fuzz", ', '"fuzz", "round_trip", ')
    done = _run(own)
    assert done.returncode == 0, done.stdout
    _change(own / "my_storage.py", "clean_up", "clean")
    done = _run(own)
    assert done.returncode == 1, done.stdout
    assert "--storage: the storage my_storage:MyStorage lacks clean_up" in done.stdout


def test_template_takes_the_place_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_my_storage.py").write_text("mine")
    assert main(["new-storage", str(tmp_path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"dcp-stress: error: {tmp_path}/test_my_storage.py is there already: name another directory"
    assert [path.name for path in tmp_path.iterdir()] == ["test_my_storage.py"]
    assert (tmp_path / "test_my_storage.py").read_text() == "mine"
