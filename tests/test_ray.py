"""A campaign on a Ray cluster comes to what a local one comes to, and outlives a worker. Skipped where Ray is missing.

The cluster is a real one, of this machine, at a loopback address that Ray does not put another one in the place of.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from campaign.cli import main
from campaign.folder import Folder
from campaign.tally import Tally
from tests.planted_workers import BLIND, plant_in_processes

ROOT = Path(__file__).parents[1]
HAS_RAY = importlib.util.find_spec("ray") is not None

needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install 'dcp-stress[ray]'")


def test_without_ray_it_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["fuzz", "comparison", "--engine=ray", "--into", str(tmp_path / "campaign")]) == 3
    assert capsys.readouterr().err == "dcp-stress: error: Ray is not installed: pip install 'dcp-stress[ray]'\n"
    assert not (tmp_path / "campaign").exists()


def test_address_without_ray_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "--address=127.0.0.2:6379"]) == 2
    assert capsys.readouterr().err == "dcp-stress: error: --address is of a Ray cluster: say --engine=ray\n"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of three CPUs."""
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
    # Sockets of Ray are in there, and their names may not be long.
    with tempfile.TemporaryDirectory(prefix="dcp-stress-ray-") as directory:
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=3"]
        limits = ["--object-store-memory=100000000", "--memory=4000000000", "--include-dashboard=false"]
        where = ["--node-ip-address=127.0.0.2", f"--port={port}", f"--temp-dir={directory}", "--disable-usage-stats"]
        process = subprocess.Popen([*start, *limits, *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: _is_there(port), 60)
            yield f"127.0.0.2:{port}"
        finally:
            process.terminate()  # which ends what it has started
            process.wait()


def _is_there(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.2", port)) == 0


def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def start(into: Path, planted_in: Path, *arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join(map(str, [ROOT, planted_in]))
    laws = ["comparison", "chunk_spec", "round_trip", "--seed=5", "--max-time=5m", "--workers=2"]
    return subprocess.Popen(
        [sys.executable, "-m", "campaign", "fuzz", *laws, *arguments, "--into", str(into)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _drawn(tally: Tally) -> object:
    laws = {name: (law.examples, law.behaviours, law.known, law.violations) for name, law in tally.laws.items()}
    return laws, tally.features, tally.drawn, set(tally.findings)


@pytest.fixture(scope="module")
def planted_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_in_processes([BLIND], tmp_path_factory.mktemp("planted"))


@needs_ray
@pytest.mark.thorough
@pytest.mark.parametrize("shared", [True, False], ids=["of one file system", "of another machine"])
def test_campaign_on_ray_comes_to_the_same(address: str, tmp_path: Path, planted_in: Path, shared: bool) -> None:
    """Where workers write into the campaign's directory, and where the driver writes what it hears."""
    tallies = []
    apart = tmp_path / "apart"
    for name, arguments in (("local", []), ("ray", ["--engine=ray", f"--address={address}"])):
        if name == "ray" and not shared:
            more = "import campaign.ray_pool\ncampaign.ray_pool.Beside._is_here = staticmethod(lambda *_: False)\n"
            text = (planted_in / "sitecustomize.py").read_text()
            apart.mkdir()
            (apart / "sitecustomize.py").write_text(text + more)
        directory = apart if apart.exists() else planted_in
        process = start(tmp_path / name, directory, *arguments, "--units=2", "--max-examples=20")
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 1, said
        tallies.append(Folder(tmp_path / name).tally())
    local, ray = tallies
    assert local.examples == 3 * 2 * 20
    assert len(local.findings) == 2
    assert _drawn(ray) == _drawn(local)


@needs_ray
@pytest.mark.thorough
def test_campaign_outlives_the_kill_of_a_ray_worker(address: str, tmp_path: Path, planted_in: Path) -> None:
    into = tmp_path / "campaign"
    process = start(into, planted_in, "--engine=ray", f"--address={address}", "--units=2", "--max-examples=40")

    def workers() -> dict[int, int]:
        """The workers of the campaign that are at a scenario, each with its Ray worker."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if b"campaign.worker" in words and str(into).encode() in words:
                found[int(path.name)] = parent
        return found

    def is_under_way() -> bool:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        return (into / "log").is_dir() and "round_trip" in Folder(into).tally().open_units.values()

    until(is_under_way)
    [name] = [path.stem for path in (into / "log").glob("0*.jsonl") if _is_at(path, "round_trip-0")]
    worker = next(pid for pid in workers() if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(workers()[worker], signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert not workers(), "a worker ends with its Ray worker"
    tally = Folder(into).tally()
    [lost] = tally.lost
    assert (lost.unit, lost.how) == ("round_trip-0", "was lost, with its Ray worker or the whole node")
    assert not tally.open_units
    assert len(tally.findings) == 2
    assert tally.laws["comparison"].examples == tally.laws["chunk_spec"].examples == 2 * 40
    assert 40 <= tally.laws["round_trip"].examples < 2 * 40, "the other unit, and what was done of the lost one"
    assert f"\n{tally.examples} examples in " in said


def _is_at(path: Path, unit: str) -> bool:
    return f'"unit":"{unit}"' in path.read_text()
