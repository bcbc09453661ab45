"""The torchrun world: two agents of two ranks on this machine, what one sees, and how a job ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.warm_python import run_python

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[1]
PYTEST = ["-m", "pytest", "-p", "no:cacheprovider", "--world=torchrun"]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def agents(arguments: Sequence[str], directory: Path, *, count: int = 2) -> Iterator[list[subprocess.Popen[str]]]:
    """Agents of torchrun, each with two ranks, that are gone at the end; the output of each is in ``directory``."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["TMPDIR"] = str(directory / "of-torchrun")  # in which an agent leaves a directory
    (directory / "of-torchrun").mkdir()
    port = free_port()
    started = []
    try:
        for node in range(count):
            command = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={count}", "--nproc-per-node=2"]
            command += [f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}", *arguments]
            with (directory / f"agent-{node}").open("w") as output:
                started.append(
                    subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output, text=True)
                )
        yield started
    finally:
        for agent in started:
            agent.terminate()  # which ends its ranks as well
            agent.wait()


def run(arguments: Sequence[str], directory: Path) -> tuple[list[int], str]:
    """The exit status of each of two agents, and what the first one printed."""
    with agents(arguments, directory) as started:
        statuses = [agent.wait(timeout=300) for agent in started]
    return statuses, (directory / "agent-0").read_text()


@pytest.mark.commands
def test_two_agents_of_two_ranks_pass_a_sample_of_the_laws(tmp_path: Path) -> None:
    laws = ["properties/test_round_trip.py", "properties/test_no_deadlock.py", "properties/test_agreement.py"]
    options = ["-k", "shard-0", f"--checkpoint-dir={tmp_path}", "-rs"]
    statuses, text = run([*PYTEST, *laws, *options], tmp_path)
    assert statuses == [0, 0], text
    assert text.count("test session starts") == 1, "rank 0 alone is a pytest session"
    assert re.search(r"world torchrun, profile quick \(4 × \d+ examples", text)
    assert "3 passed, 2 skipped" in text
    assert "makes sense in the simulated world alone" in text
    assert (tmp_path / "agent-1").read_text() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent-0", "agent-1", "of-torchrun"], "no checkpoint"


SCRIPT = """
import sys
from tests.test_process_world import HANGS, SMALL, process_numbers
from properties import judge
from worlds import Operation, Scenario, SimulatedWorld, TorchrunWorld
from worlds.torchrun import job_rank, serve

if job_rank():
    sys.exit(serve(timeout=60))
with TorchrunWorld(sys.argv[1], timeout=60) as world, SimulatedWorld() as simulated:
    ranks = world.launch(process_numbers, world.size).ranks
    print("ranks", len(set(ranks)), "agents", len({agent for _, agent in ranks}))
    judge(SMALL, world.run(SMALL)).raise_for_violation()
    hang = world.run(HANGS)
    print("hang", hang.save.ranks[0] == simulated.run(HANGS).save.ranks[0], hang.save.ranks[0].stack.splitlines()[-1])
    judge(SMALL, world.run(SMALL)).raise_for_violation()
    alone = Scenario(save=Operation(distributed=False), load=Operation(2))
    for scenario in (alone, SMALL, alone):  # a rank that has left a group is in no later one of the same name
        judge(scenario, world.run(scenario)).raise_for_violation()
    try:
        world.run(Scenario(save=Operation(5)))
    except ValueError as error:
        print(error)
"""


@pytest.mark.commands
def test_hang_is_found_with_its_stacks_and_the_job_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    statuses, text = run([str(script), str(tmp_path)], tmp_path)
    assert statuses == [0, 0], text
    assert "ranks 4 agents 2\n" in text
    assert re.search(r"^hang True .*distributed_c10d.py:\d+ in all_gather$", text, re.MULTILINE), text
    assert "a world of 5 ranks does not fit into a job of 4\n" in text


PLANT = """
import sys, pytest
from torch.distributed.checkpoint.filesystem import FileSystemReader
from campaign.planted.plant import planted

class AsFound:
    @staticmethod
    def pytest_collection():
        from hypothesis import Phase, settings  # whose plugin complains if that comes before it
        settings.register_profile("quick", settings.get_profile("quick"), phases=[Phase.generate])
        settings.load_profile("quick")

with planted(FileSystemReader, "read_data", "target_tensor.copy_(tensor)", "pass"):
    sys.exit(pytest.main(sys.argv[1:], plugins=[AsFound()]))
"""


@pytest.mark.commands
def test_job_ends_when_a_law_fails(tmp_path: Path) -> None:
    """With the first case that breaks it: to make it small takes the ranks a minute, and shows nothing more."""
    script = tmp_path / "planted.py"
    script.write_text(PLANT)
    law = "properties/test_round_trip.py::test_round_trip[shard-0]"
    statuses, text = run([str(script), *PYTEST[2:], law], tmp_path)
    assert statuses[0] == 1, text
    # The second where the load makes the tensor, in memory that holds anything.
    assert re.search("(NotLoaded|WrongBits): load: ", text), text
    assert f"pytest --world=torchrun --hypothesis-profile=quick '{law}'" in text


@pytest.mark.commands
@pytest.mark.parametrize("how", ["interrupted", "without a rank"])
def test_job_ends_in_order_when_it_is(how: str, tmp_path: Path) -> None:
    arguments = [
        *PYTEST,
        "--hypothesis-profile=nightly",
        "properties/test_round_trip.py",
        f"--checkpoint-dir={tmp_path}",
    ]
    with agents(arguments, tmp_path, count=1) as (agent,):
        end = time.monotonic() + 120
        while not any(path.is_dir() and any(path.iterdir()) for path in tmp_path.glob("dcp-stress-*")):
            assert time.monotonic() < end, (tmp_path / "agent-0").read_text()
            time.sleep(0.05)
        ranks = children(agent.pid)
        if how == "interrupted":
            agent.send_signal(signal.SIGINT)
        else:
            os.kill(ranks[1], signal.SIGKILL)
        agent.wait(timeout=120)
    assert len(ranks) == 2
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
    assert not list(tmp_path.glob("dcp-stress-*")), "no checkpoint is left"


def children(process: int) -> list[int]:
    task = Path(f"/proc/{process}/task")
    if not task.is_dir():
        pytest.skip("the system does not tell")
    return [int(child) for one in task.iterdir() for child in (one / "children").read_text().split()]


@pytest.mark.parametrize(
    ("options", "environment", "says"),
    [
        (
            ["--world=torchrun"],
            {},
            "the torchrun world runs in a job of torchrun: "
            "torchrun --nproc-per-node=4 -m pytest --world=torchrun properties",
        ),
        (
            ["--world=torchrun", "--max-world-size=8"],
            {"RANK": "0", "WORLD_SIZE": "2"},
            "--max-world-size=8 is more than the 2 ranks of the job",
        ),
        (
            ["--world=torchrun", "-n2"],
            {"RANK": "0", "WORLD_SIZE": "2"},
            "a job of torchrun runs one law at a time: leave out -n",
        ),
        (["--max-world-size=0"], {}, "--max-world-size takes a number of ranks, 1 or more, not 0"),
    ],
)
def test_wrong_use_ends_in_one_line(options: list[str], environment: dict[str, str], says: str) -> None:
    command = ["-m", "pytest", "-p", "no:cacheprovider", *options, "properties/test_round_trip.py"]
    done = run_python(*command, environment=environment)
    assert done.returncode == 4, done.stdout
    assert done.stderr.strip().splitlines() == [f"ERROR: {says}"]
