"""What one machine finds, the next one tries first: by a Redis server. Skipped where client or server is missing."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis.database import DirectoryBasedExampleDatabase

from campaign.cli import main
from campaign.finding import read_finding
from campaign.folder import Folder
from properties.databases import database_of
from tests.planted_workers import BLIND, plant_in_processes

SERVER = shutil.which("redis-server")

needs_redis = pytest.mark.skipif(
    SERVER is None or importlib.util.find_spec("redis") is None,
    reason="needs redis-server, and its client: pip install 'dcp-stress[redis]'",
)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server of its own, at the loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert SERVER is not None
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen([SERVER, *options], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while True:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < end
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@needs_redis
@pytest.mark.thorough
def test_findings_are_shared_by_a_server(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(plant_in_processes([BLIND], tmp_path / "planted")))
    arguments = ["comparison", "--units=1", "--max-examples=60", "--workers=1", "--seed=1", f"--findings={url}"]
    assert main(["fuzz", *arguments, "--into", str(tmp_path / "one")]) == 1
    names = Folder(tmp_path / "one").tally().findings
    assert names
    capsys.readouterr()
    assert main(["fuzz", *arguments, "--into", str(tmp_path / "other")]) == 0
    said = capsys.readouterr().out
    for name, finding in names.items():
        assert f"still there: {name}, found before: WrongComparison: " in said
        assert read_finding(tmp_path / "other" / "kept" / name) == finding


@needs_redis
def test_database_of_hypothesis_is_on_a_server(url: str) -> None:
    database_of(url).save(b"key", b"value")
    assert list(database_of(url).fetch(b"key")) == [b"value"]


def test_database_of_hypothesis_is_in_a_directory(tmp_path: Path) -> None:
    assert database_of(str(tmp_path)) == DirectoryBasedExampleDatabase(tmp_path)


def test_without_redis_it_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    into = str(tmp_path / "campaign")
    assert main(["fuzz", "comparison", "--findings=redis://127.0.0.1:1/0", "--into", into]) == 3
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line == "dcp-stress: error: the client of Redis is not installed: pip install 'dcp-stress[redis]'"
