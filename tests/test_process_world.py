"""The process world as a user sees it: real ranks, what they saw, and nothing left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.distributed as dist
from torch.distributed._functional_collectives import all_reduce, wait_tensor
from torch.distributed.checkpoint import _version
from torch.distributed.checkpoint.planner import SavePlanner

from properties import judge
from properties.known_issues import KNOWN_ISSUES, find_known_issue
from worlds import ChunkSharding, Fault, ObjectEntry, Operation, ProcessWorld, Scenario, SimulatedWorld, TensorEntry
from worlds.outcome import Deadlocked, Died, OperationOutcome, Outcome, Raised
from worlds.processes.spawner import SpawnerFailed
from worlds.program import round_trip, run_rank
from worlds.state import StateDict

SMALL = Scenario(
    entries=(
        TensorEntry("a", (5, 2), saved=ChunkSharding(0, (2, 0, 1)), loaded=ChunkSharding(-1, (1, 1))),
        TensorEntry("b", (3,), "bfloat16", fill="special"),
        ObjectEntry("c", (1, b"x")),
    ),
    save=Operation(3),
    load=Operation(2),
)
HANGS = replace(SMALL, faults=(Fault("save", 1, "writer.write_data", "Unpicklable"),))


def unscheduled(operation: OperationOutcome | None) -> OperationOutcome | None:
    return None if operation is None else replace(operation, schedule=())


@pytest.mark.parametrize(
    "scenario",
    [
        SMALL,
        replace(SMALL, save=replace(SMALL.save, api="legacy", coordinator=2), load=SMALL.save),
        replace(SMALL, faults=(Fault("save", 2, "writer.write_data", "KeyError"), Fault("save", 0, "writer.finish"))),
        replace(SMALL, faults=(Fault("load", 1, "reader.read_data", "SystemExit", "future"),)),
        replace(SMALL, entries=SMALL.entries[1:], save=Operation(distributed=False)),
    ],
)
def test_outcome_is_that_of_the_simulated_world(
    scenario: Scenario, processes: ProcessWorld, world: SimulatedWorld
) -> None:
    seen, simulated = processes.run(scenario), world.run(scenario)
    assert unscheduled(seen.save) == unscheduled(simulated.save)
    assert unscheduled(seen.load) == unscheduled(simulated.load)
    assert (seen.metadata, seen.files) == (simulated.metadata, simulated.files)
    assert seen.save.schedule == ()


@pytest.mark.parametrize("world_size", [1, 2, 5, 16])
def test_world_of_any_size(world_size: int, processes: ProcessWorld) -> None:
    ranks = tuple(range(world_size))
    entry = TensorEntry("a", (2 * world_size, 2), saved=ChunkSharding(0, ranks), loaded=ChunkSharding(0, ranks[::-1]))
    scenario = Scenario((entry,), Operation(world_size), Operation(world_size))
    judge(scenario, processes.run(scenario)).raise_for_violation()


def process_numbers(_: int) -> tuple[int, int]:
    return os.getpid(), os.getppid()


def overwrite_late(state: StateDict) -> None:
    overwrite = state.overwrite

    def late() -> None:
        time.sleep(0.5)  # in which the thread of async_save would have written all
        overwrite()

    vars(state)["overwrite"] = late


def save_and_load(scenario: Scenario, path: str, rank: int) -> Outcome:
    def operate(name: Literal["save", "load"], prepare: Callable[[StateDict], None] | None) -> OperationOutcome:
        outcome = run_rank(scenario, name, rank, path, [], prepare=prepare)
        assert outcome is not None
        return OperationOutcome((outcome,))

    return round_trip(scenario, path, lambda: operate("save", overwrite_late), lambda: operate("load", None))


def test_upload_of_an_asynchronous_save_waits_for_a_slow_caller(processes: ProcessWorld, tmp_path: Path) -> None:
    """Found when CI was busy: what is not copied showed only where the caller came before the upload."""
    issue = KNOWN_ISSUES["staging-scalar-dtensor"]
    launched = processes.launch(partial(save_and_load, issue.scenario, f"{tmp_path}/checkpoint"), 1)
    (outcome,) = launched.ranks
    assert isinstance(outcome, Outcome)
    assert find_known_issue(judge(issue.scenario, outcome)) is issue


def test_ranks_are_processes_that_outlive_examples(processes: ProcessWorld) -> None:
    before = processes.launch(process_numbers, 3).ranks
    processes.run(SMALL)
    assert processes.launch(process_numbers, 3).ranks == before
    assert len({os.getpid(), *(number for number, _ in before)}) == 4  # type: ignore[misc]


@pytest.mark.skipif(sys.platform != "linux", reason="ranks are stopped where the system ends them with their parent")
def test_ranks_do_nothing_between_their_jobs(processes: ProcessWorld) -> None:
    ranks = [number for number, _ in processes.launch(process_numbers, 3).ranks]  # type: ignore[misc]
    others = [number for number, _ in processes.launch(process_numbers, 2).ranks]  # type: ignore[misc]
    assert stop_in_time(ranks + others)
    assert processes.launch(partial(stop_in_time, ranks), 2).ranks == (True, True), "nor where other ranks have one"
    assert [number for number, _ in processes.launch(process_numbers, 3).ranks] == ranks  # type: ignore[misc]


def stop_in_time(processes: list[int], _: int = 0) -> bool:
    """Whether all come to be stopped, which ``ps`` calls ``T``; a process is a while after it has been told to."""
    end = time.monotonic() + 60
    while set(map(state_of, processes)) != {"T"} and time.monotonic() < end:
        time.sleep(0.01)
    return set(map(state_of, processes)) == {"T"}


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]


def test_hang_is_found_with_its_stacks_and_the_run_goes_on(processes: ProcessWorld, world: SimulatedWorld) -> None:
    before = processes.launch(process_numbers, 3).ranks
    outcome = processes.run(HANGS)
    simulated = world.run(HANGS)
    assert isinstance(outcome.save.ranks[1], Raised)
    for rank in (0, 2):
        seen = outcome.save.ranks[rank]
        assert isinstance(seen, Deadlocked)
        assert seen == simulated.save.ranks[rank], "collective, group and count"
        assert "torch/distributed/checkpoint/utils.py" in seen.stack
        assert seen.stack.splitlines()[-1].endswith(" in all_gather")
    assert outcome.save.hits == simulated.save.hits
    text = str(judge(HANGS, outcome))
    assert text.startswith("Deadlock: save: rank 0 and 1 more wait for ever in gather_object with root 0")
    assert "stack     ranks 0, 2:\n" in text
    judge(SMALL, processes.run(SMALL)).raise_for_violation()
    assert not set(before).intersection(processes.launch(process_numbers, 3).ranks)


def leave(rank: int) -> None:
    if rank != 1:
        dist.barrier()


def test_rank_that_returns_early_leaves_the_others_waiting(processes: ProcessWorld) -> None:
    ranks = processes.launch(leave, 3).ranks
    assert ranks[1] is None
    assert [str(ranks[rank].waiting) for rank in (0, 2)] == ["barrier (collective 0 of group [0, 1, 2])"] * 2  # type: ignore[union-attr]


def gather_alone(rank: int) -> None:
    if rank == 0:
        dist.all_gather_single(torch.zeros(2), torch.zeros(1))


def scatter_alone(rank: int) -> None:
    if rank == 0:
        dist.reduce_scatter_single(torch.zeros(1), torch.zeros(2))


def reduce_alone(rank: int) -> None:
    if rank == 0:
        wait_tensor(all_reduce(torch.zeros(1), "sum", [0, 1]))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (gather_alone, "all_gather_single"),
        (scatter_alone, "reduce_scatter_single"),
        (reduce_alone, "wait_tensor"),
    ],
)
def test_hang_is_found_in_collectives_of_tensors(
    body: Callable[[int], None], name: str, processes: ProcessWorld
) -> None:
    waits, returned = processes.launch(body, 2).ranks
    assert isinstance(waits, Deadlocked)
    assert waits.waiting.what == name, "found by what the ranks do, and not by the time that they take"
    assert returned is None


def come_late(rank: int) -> int:
    if rank == 0:
        time.sleep(1.5)  # far longer than looks that show nothing new take
    dist.barrier()
    return rank


def compute_late(rank: int) -> int:
    if rank == 0:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            pass
    dist.barrier()
    return rank


def wait_with_limit(rank: int) -> int:
    if rank == 0:
        threading.Event().wait(timeout=1.5)
    dist.barrier()
    return rank


@pytest.mark.parametrize("body", [come_late, compute_late, wait_with_limit])
def test_rank_that_is_slow_is_no_hang(body: Callable[[int], int], processes: ProcessWorld) -> None:
    assert processes.launch(body, 3).ranks == (0, 1, 2)


def wait_for_thread(rank: int) -> None:
    if rank == 1:
        thread = threading.Thread(target=threading.Event().wait)
        thread.start()
        thread.join()


def test_rank_that_waits_for_its_own_thread_for_ever_hangs(processes: ProcessWorld) -> None:
    ranks = processes.launch(wait_for_thread, 2).ranks
    assert ranks[0] is None
    assert isinstance(ranks[1], Deadlocked)
    assert "join" in str(ranks[1].waiting)


def die(number: int, rank: int) -> None:
    if rank == 1:
        os.kill(os.getpid(), number)


def exit_at_once(rank: int) -> None:
    os._exit(3 * rank)


def test_rank_that_dies_is_told_and_replaced(processes: ProcessWorld) -> None:
    assert processes.launch(partial(die, signal.SIGKILL), 2).ranks == (None, Died("killed by SIGKILL"))
    assert processes.launch(exit_at_once, 1, distributed=False).ranks == (Died("exited with status 0"),)
    judge(SMALL, processes.run(SMALL)).raise_for_violation()


def fail(rank: int) -> None:
    if rank == 1:
        raise KeyError("mine")


def test_what_a_body_raises_is_raised_with_the_ranks_traceback(processes: ProcessWorld) -> None:
    with pytest.raises(KeyError, match="mine") as caught:
        processes.launch(fail, 2)
    assert "in fail" in caught.value.__notes__[0]


def remembered(rank: int) -> bool:
    return bool(_version._derived_version or any(vars(SavePlanner)[f"_cached_{name}"] for name in ("save_plan",)))


def remember(rank: int) -> None:
    _version._derived_version = "old"
    SavePlanner._cached_save_plan["a"] = None  # type: ignore[assignment]


def test_nothing_of_dcp_is_as_an_earlier_example_left_it(processes: ProcessWorld) -> None:
    processes.launch(remember, 3)
    assert processes.launch(remembered, 3).ranks == (True, True, True)
    processes.run(SMALL)
    assert processes.launch(remembered, 3).ranks == (False, False, False)


def make_group(rank: int) -> None:
    dist.barrier(dist.new_group([0, 1]))


def count_groups(rank: int) -> int:
    return len(dist.distributed_c10d._world.pg_map)


def test_groups_of_one_example_are_not_seen_by_the_next(processes: ProcessWorld) -> None:
    processes.launch(make_group, 2)
    assert processes.launch(count_groups, 2).ranks == (1, 1)


def group_of_none(rank: int) -> bool:
    return dist.is_initialized()


def test_rank_without_torch_distributed_has_none(processes: ProcessWorld) -> None:
    assert processes.launch(group_of_none, 1, distributed=False).ranks == (False,)
    assert processes.launch(group_of_none, 1).ranks == (True,)


def native_threads(_: int) -> int:
    return len(os.listdir(f"/proc/{os.getppid()}/task"))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not tell")
def test_process_that_ranks_are_forked_from_has_one_thread(processes: ProcessWorld) -> None:
    assert processes.launch(native_threads, 2).ranks == (1, 1)


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def leave_a_file(_: int) -> str:
    return tempfile.mkdtemp()


def test_close_leaves_no_process_file_or_socket_behind() -> None:
    before = sorted(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else []
    with ProcessWorld(max_processes=4) as world:
        numbers = {number for ranks in world.launch(process_numbers, 3).ranks for number in ranks}  # type: ignore[union-attr]
        numbers |= {number for ranks in world.launch(process_numbers, 2).ranks for number in ranks}  # type: ignore[union-attr]
        world.run(HANGS)
        (left,) = world.launch(leave_a_file, 1).ranks
        assert isinstance(left, str)
        assert Path(left).is_dir()
        directory = world._directory
        assert directory is not None
        assert not list(Path(directory).glob("example-*")), "an example's files go with it"
        assert sum(map(lives, numbers)) <= 4 + 1, "no more ranks than asked for, and what they are forked from"
    assert not any(map(lives, numbers)), "and no zombie either"
    assert not Path(directory).exists()
    assert not (Path(left).exists() and sys.platform == "linux"), "nor what ranks leave among temporary files"
    assert (sorted(os.listdir("/proc/self/fd")) if before else []) == before


def wait_for_end_of(processes: set[int], directory: Path | None = None) -> None:
    end = time.monotonic() + 60
    while any(map(lives, processes)) or (directory is not None and directory.exists()):
        assert time.monotonic() < end, "a process or a file is left"
        time.sleep(0.05)


DRIVER = """
import sys, time
from worlds import ProcessWorld
from tests.test_process_world import SMALL, process_numbers, stand
world = ProcessWorld()
world.run(SMALL)
ranks = world.launch(process_numbers, 3).ranks
print(world._directory, *{number for rank in ranks for number in rank}, flush=True)
if sys.argv[1] == "busy":
    world.launch(stand, 3)
time.sleep(600)
"""


def stand(rank: int) -> None:
    if rank:
        dist.barrier()
    time.sleep(600)


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_nothing_is_left_when_the_driver_is_killed(state: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", DRIVER, state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as driver:
        assert driver.stdout is not None
        directory, *numbers = driver.stdout.readline().split()
        assert len(numbers) == 4
        assert Path(directory).is_dir()
        driver.kill()
    wait_for_end_of(set(map(int, numbers)), Path(directory))


def test_ranks_that_can_no_longer_be_started_end_in_one_line() -> None:
    with ProcessWorld() as world:
        numbers = {number for ranks in world.launch(process_numbers, 2).ranks for number in ranks}  # type: ignore[union-attr]
        os.kill(world.spawner().pid, signal.SIGKILL)
        with pytest.raises(SpawnerFailed, match="ended with SIGKILL; DCP_STRESS_RANK_OUTPUT=1 shows why"):
            world.run(SMALL)
    wait_for_end_of(numbers)


@pytest.mark.thorough
def test_last_resort_is_a_time_limit() -> None:
    # Long enough for rank 1 to come to its barrier on a machine that is busy with much else; rank 0 never comes.
    with ProcessWorld(patience=10) as world:
        ranks = world.launch(stand, 2).ranks
    assert isinstance(ranks[0], Deadlocked)
    assert str(ranks[0].waiting) == "something, for more than 10 seconds"
    assert ranks[0].stack.endswith("in stand")
    assert isinstance(ranks[1], Deadlocked)
    assert ranks[1].waiting.what == "barrier"
