"""The simulated world as a user sees it: deterministic, of any size, and gone without a trace."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import HealthCheck, Phase, given, seed, settings
from torch.distributed import distributed_c10d as c10d
from torch.distributed.checkpoint import _version
from torch.distributed.checkpoint.planner import SavePlanner

from properties import judge
from strategies import scenarios
from worlds import ChunkSharding, Fault, Nested, ObjectEntry, Operation, Scenario, Schedule, SimulatedWorld, TensorEntry
from worlds.layouts import Plain
from worlds.outcome import Deadlocked, Raised, Returned, TensorState
from worlds.parts import Box
from worlds.routes import Route, from_torch_save
from worlds.run_route import run_route
from worlds.simulated.groups import group_patches
from worlds.values import poison_bytes

SMALL = Scenario(
    entries=(
        TensorEntry("a", (5, 2), saved=ChunkSharding(0, (2, 0, 1)), loaded=ChunkSharding(-1, (1, 1))),
        TensorEntry("b", (3,), "bfloat16", fill="special"),
        ObjectEntry("c", (1, b"x")),
    ),
    save=Operation(3),
    load=Operation(2),
)


def test_memory_that_a_failed_load_has_made_is_poison_whatever_is_in_it(world: SimulatedWorld) -> None:
    """It may be what was saved, in memory that is used again; here it was loaded, in a dict of the caller's own."""
    entry = TensorEntry("a", (4,), loaded=Plain(memory="meta"))
    fault = Fault("load", 0, "planner.commit_tensor")
    outcome = world.run(Scenario((Nested("n", entries=(entry,)),), faults=(fault,)))
    assert outcome.load is not None
    (seen,) = outcome.load.ranks
    assert isinstance(seen, Raised)
    (tensor,) = (state for state in seen.state if isinstance(state, TensorState))
    assert [chunk.data for chunk in tensor.chunks] == [poison_bytes("n.a", entry, Box((0,), (4,)))]


def test_world_of_64_ranks_saves_reshards_to_48_and_loads(world: SimulatedWorld) -> None:
    scenario = Scenario(
        entries=(
            TensorEntry(
                "a", (128, 3), saved=ChunkSharding(0, tuple(range(64))), loaded=ChunkSharding(0, tuple(range(48)))
            ),
            TensorEntry(
                "b",
                (2, 192),
                saved=ChunkSharding(1, tuple(range(63, -1, -1))),
                loaded=ChunkSharding(-1, tuple(range(48))),
            ),
            TensorEntry("c", (7,)),
        ),
        save=Operation(64),
        load=Operation(48),
    )
    outcome = world.run(scenario)
    judge(scenario, outcome).raise_for_violation()
    assert outcome.load is not None
    assert len(outcome.load.ranks) == 48


def draw(count: int, number: int) -> list[Scenario]:
    drawn: list[Scenario] = []

    @seed(number)
    @settings(max_examples=count, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(scenario=scenarios(max_world_size=4))
    def collect(scenario: Scenario) -> None:
        drawn.append(scenario)

    collect()
    return drawn


@pytest.mark.thorough
def test_same_seed_same_examples_schedules_and_outcomes() -> None:
    first, second = draw(150, 1), draw(150, 1)
    assert first == second
    with SimulatedWorld() as one, SimulatedWorld() as other:
        outcomes = [one.run(scenario) for scenario in first]
        shuffled = list(enumerate(second))
        random.Random(0).shuffle(shuffled)
        again = dict(sorted((index, other.run(scenario)) for index, scenario in shuffled))
    assert [repr(outcome) for outcome in outcomes] == [repr(outcome) for outcome in again.values()]


def test_outcome_is_the_same_in_another_process(world: SimulatedWorld) -> None:
    scenario = replace(SMALL, faults=(Fault("load", 1, "planner.commit_tensor", "KeyError"),))
    script = (
        "from worlds import *\n"
        f"scenario = {scenario!r}\n"
        "with SimulatedWorld() as world:\n"
        "    print(repr(world.run(scenario)))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(world.run(scenario))
    assert done.stderr == ""


def test_outcome_does_not_tell_where_the_checkpoint_was(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Found as a file of metadata that was a byte longer in a process whose id had a digit more."""
    before = world.run(SMALL)
    elsewhere = tmp_path / "a much longer name than any directory for temporary files has"
    elsewhere.mkdir()
    monkeypatch.setattr(world, "_directory", str(elsewhere))
    assert world.run(SMALL) == before


@pytest.mark.parametrize("order", [(), (2, 1, 0), (1,)])
def test_order_changes_the_schedule_and_nothing_else(world: SimulatedWorld, order: tuple[int, ...]) -> None:
    scenario = replace(SMALL, save=replace(SMALL.save, schedule=Schedule(order)))
    seen, natural = world.run(scenario), world.run(SMALL)
    assert seen.save.ranks == natural.save.ranks
    assert (seen.save.schedule == natural.save.schedule) == (order == ())


def leave(rank: int) -> None:
    if rank != 1:
        dist.barrier()


def test_deadlock_is_a_value_that_names_who_waits_where(world: SimulatedWorld) -> None:
    launched = world.launch(leave, 3)
    assert launched.ranks[1] is None
    for rank in (0, 2):
        seen = launched.ranks[rank]
        assert isinstance(seen, Deadlocked)
        assert str(seen.waiting) == "barrier (collective 0 of group [0, 1, 2])"
    assert all(isinstance(rank, Returned) for rank in world.run(SMALL).save.ranks), "the next run is as if nothing was"


def test_what_a_body_raises_is_raised(world: SimulatedWorld) -> None:
    def body(rank: int) -> None:
        if rank == 1:
            raise KeyError("mine")
        dist.barrier()

    with pytest.raises(KeyError, match="mine"):
        world.launch(body, 2)


OURS = f"dcp-stress-{os.getpid()}-*"


class Traces:
    """What a run could leave behind."""

    def __init__(self, world: SimulatedWorld) -> None:
        patches = [*group_patches(), *world._patches]
        self.values = [vars(patch.owner)[patch.name] for patch in patches]
        self.others: list[Any] = [
            sys.excepthook,
            threading.excepthook,
            _version._derived_version,
            {name: dict(value) for name, value in vars(SavePlanner).items() if name.startswith("_cached_")},
            torch.get_num_threads(),
            dist.is_initialized(),
            sorted(Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").is_dir() else (),
            [*Path(tempfile.gettempdir()).glob(OURS), *Path("/dev/shm").glob(OURS)],
        ]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Traces)
        same = all(one is two for one, two in zip(self.values, other.values, strict=True))
        return same and self.others == other.others


def make_groups(rank: int) -> None:
    dist.barrier(dist.new_group([0, 1]))


def test_launch_leaves_no_hook_behind(world: SimulatedWorld) -> None:
    """``init_process_group`` wraps the hook for exceptions anew, for each rank that is made."""
    hook = sys.excepthook
    world.launch(make_groups, 2)
    assert sys.excepthook is hook


@pytest.mark.parametrize("what", ["success", "failure", "deadlock", "error", "groups", "thread"])
def test_leaves_nothing_behind(what: str) -> None:
    def fail(rank: int) -> None:
        raise KeyError(rank)

    def start_thread(rank: int) -> None:
        threading.Thread(target=threading.Event().wait).start()

    threads = threading.enumerate()
    with SimulatedWorld() as world:
        world.run(SMALL)
        before = Traces(world)
        match what:
            case "success":
                world.run(SMALL)
            case "failure":
                world.run(replace(SMALL, faults=(Fault("save", 1, "writer.write_data"),)))
            case "deadlock":
                world.run(replace(SMALL, faults=(Fault("save", 1, "writer.write_data", "Unpicklable"),)))
            case "error":
                with pytest.raises(KeyError):
                    world.launch(fail, 2)
            case "groups":
                world.launch(make_groups, 2)
            case "thread":
                world.launch(start_thread, 2)
        assert Traces(world) == before
    assert threading.enumerate() == threads


def test_group_of_the_caller_is_left_alone() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        group = dist.group.WORLD
        with SimulatedWorld() as world:
            assert world.launch(lambda _: dist.get_world_size(), 3).ranks == (3, 3, 3)
            judge(SMALL, world.run(SMALL)).raise_for_violation()
        assert dist.group.WORLD is group
        tensor = torch.ones(1)
        dist.all_reduce(tensor)
        assert tensor.item() == 1
    finally:
        dist.destroy_process_group()
    assert c10d._world.default_pg is None


@pytest.mark.thorough
def test_no_growth_over_many_examples() -> None:
    """Threads, files and objects after 400 examples are those after 200, give or take what the interpreter caches."""
    drawn = draw(200, 2)
    with SimulatedWorld() as world:
        before = _resources_after(world, drawn)
        after = _resources_after(world, drawn)
    assert after[:2] == before[:2]
    assert after[2] - before[2] < len(drawn) / 4, "less than an object for each example is kept, so that nothing is"


def _resources_after(world: SimulatedWorld, drawn: list[Scenario]) -> tuple[int, int, int]:
    """Threads, open files and objects that the garbage collector knows, after those examples."""
    for scenario in drawn:
        world.run(scenario)
    gc.collect()
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), len(gc.get_objects())


def test_rank_that_waits_for_ever_does_whatever_dcp_makes_of_its_end(world: SimulatedWorld) -> None:
    """Without collectives it is told at once that its load has failed, by what the rank is ended with here."""
    route = Route(
        from_torch_save(Scenario((TensorEntry("a"),), load=Operation(members=(1,), no_dist=True))), "broadcast"
    )
    outcome = run_route(world, route)
    assert outcome.load is not None
    assert [type(rank) for rank in outcome.load.ranks] == [Deadlocked]
