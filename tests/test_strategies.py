"""What the strategies draw: their smallest values, the corners that matter, and what they refuse."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Literal, TypeVar

import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument, NoSuchExample
from hypothesis.strategies import SearchStrategy

from strategies import (
    chunk_sharding_specs,
    dtypes,
    enumerable_sharding_specs,
    failing_ranks,
    faults,
    fqns,
    layouts,
    limit_world_sizes,
    memories,
    mesh_shardings,
    mismatched_entries,
    nested_entries,
    object_entries,
    object_values,
    operations,
    planner_options,
    ranks,
    replicas,
    scenarios,
    schedules,
    state_dicts,
    tensor_entries,
    tensor_shapes,
    training_sides,
    world_sizes,
    writer_options,
)
from strategies._reused import sampled_from
from strategies.features import ACCELERATED, FEATURES, features
from strategies.whole import Failing
from worlds import (
    ChunkSharding,
    EnumerableSharding,
    Fault,
    MeshSharding,
    Nested,
    ObjectEntry,
    Operation,
    Plain,
    PlannerOptions,
    Replicate,
    Scenario,
    Schedule,
    TensorEntry,
    Tile,
    WriterOptions,
)
from worlds.checkpointable import HAS_CHECKPOINTABLE_TENSOR
from worlds.dtypes import DTYPES
from worlds.errors import ERRORS
from worlds.hooks import HOOKS

T = TypeVar("T")

QUIET = settings(
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
EXAMPLES = 600  # of two shards of a law, in the profile ci


@pytest.mark.parametrize(
    ("strategy", "smallest"),
    [
        (world_sizes(), 1),
        (world_sizes(min_size=3), 3),
        (ranks(world_size=4), 0),
        (tensor_shapes(), ()),
        (tensor_shapes(min_dims=2), (1, 1)),
        (dtypes(), "float32"),
        (chunk_sharding_specs(dims=2, world_size=4), ChunkSharding(0, (0,))),
        (fqns(), "a"),
        (object_values(), None),
        (tensor_entries(save_world=4, load_world=4), TensorEntry("a")),
        (state_dicts(), ()),
        (state_dicts(min_entries=1), (TensorEntry("a"),)),
        (schedules(world_size=4), Schedule()),
        (operations(), Operation()),
        (writer_options(), WriterOptions()),
        (planner_options(), PlannerOptions()),
        (enumerable_sharding_specs(shape=(2, 3), world_size=4), EnumerableSharding((Tile(0, (0, 0), (2, 3)),))),
        (mesh_shardings(dims=2, world_size=4), MeshSharding((1,), (Replicate(),))),
        (replicas(world_size=4), Plain()),
        (memories(dtype="float32"), "contiguous"),
        (layouts(shape=(2,), dtype="float32", world_size=4), Plain()),
        (nested_entries(), Nested("a")),
        (object_entries(), ObjectEntry("a")),
        (mismatched_entries((TensorEntry("a"),)), (TensorEntry("a", saved=None),)),
        (failing_ranks(world_size=4, coordinator=2), frozenset({0})),
        (faults(operation="save", world_size=4), (Fault("save", 0, "writer.storage_meta"),)),
        (faults(operation="load", world_size=4), (Fault("load", 0, "reader.read_metadata"),)),
        (scenarios(), Scenario()),
        (scenarios(failing="save"), Scenario(faults=(Fault("save", 0, "writer.storage_meta"),))),
        (scenarios(failing="save", spared=True), Scenario()),
        (scenarios(failing="load", mismatched=True, spared=True), Scenario()),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_smallest_value(strategy: SearchStrategy[Any], smallest: Any) -> None:
    assert find(strategy, lambda _: True, settings=QUIET) == smallest


@pytest.mark.parametrize(
    ("condition", "smallest"),
    [
        (
            lambda s: any(isinstance(e, TensorEntry) and isinstance(e.saved, ChunkSharding) for e in s.entries),
            Scenario(entries=(TensorEntry("a", (1,), saved=ChunkSharding(0, (0,))),)),
        ),
        (lambda s: s.save.world_size == 3, Scenario(save=Operation(3), load=Operation(3))),
        (
            lambda s: bool(s.save.members) and s.save.members[0] > 0,
            Scenario(save=Operation(members=(1,)), load=Operation(members=(1,))),
        ),
        (
            lambda s: s.save.coordinator > 0,
            Scenario(save=Operation(2, 1, "legacy"), load=Operation(2, 1, "legacy")),
        ),
        (
            lambda s: {fault.rank for fault in s.faults if fault.operation == "save"} == {0, 1},
            Scenario(
                save=Operation(2),
                load=Operation(2),
                faults=(Fault("save", 0, "writer.storage_meta"), Fault("save", 1, "writer.storage_meta")),
            ),
        ),
    ],
    ids=["resharded", "three ranks", "sub-group", "another coordinator", "all ranks fail"],
)
def test_smallest_scenario_with_a_property(condition: Callable[[Scenario], bool], smallest: Scenario) -> None:
    found = find(scenarios(), condition, settings=settings(QUIET, max_examples=5000))
    assert found == smallest


def sample(strategy: SearchStrategy[T]) -> list[T]:
    """What two shards draw in the profile ``ci``."""
    drawn: list[T] = []

    @seed(0)
    @settings(QUIET, derandomize=False, max_examples=EXAMPLES, phases=[Phase.generate])
    @given(strategy)
    def run(value: T) -> None:
        drawn.append(value)

    run()
    return drawn


@cache
def sampled_scenarios(failing: Failing, mismatched: bool = False) -> list[Scenario]:
    spared = failing != "nothing" or mismatched
    return sample(scenarios(failing=failing, mismatched=mismatched, by_path=True, spared=spared))


def count(drawn: Iterable[T], corners: Callable[[T], Iterable[Any]]) -> Counter[Any]:
    """How many of the values reach each corner."""
    return Counter(corner for value in drawn for corner in set(corners(value)))


# How often two shards of a law reach what matters, at least: less than half of what was seen. What is not named here
# is to be reached at all.
EXPECTED_CORNERS = {
    ("tensor", "0-d"): 40,
    ("tensor", "empty"): 8,
    ("tensor", "resharded"): 60,
    ("tensor", "another kind at load"): 60,
    ("placement", "empty shard"): 30,
    ("placement", "uneven shards"): 15,
    ("placement", "several local shards on a rank"): 20,
    ("placement", "rank without a shard"): 40,
    ("api", "async_save"): 60,
    ("api", "sub-group"): 60,
    ("api", "another coordinator"): 40,
    ("api", "another world size at load"): 80,
    ("api", "another order of ranks"): 80,
}


@pytest.mark.thorough
def test_corners_are_reached() -> None:
    """Every feature that a scenario without a mismatch can have in the file system, and those that matter often."""
    counts = count(sampled_scenarios("nothing"), features)
    wanted = {
        (group, name): EXPECTED_CORNERS.get((group, name), 1)
        for group, names in FEATURES.items()
        for name in names
        if group not in ("mismatch", "storage")
        if HAS_CHECKPOINTABLE_TENSOR or not name.startswith("CheckpointableTensor")
        if torch.accelerator.is_available() or name not in ACCELERATED
        if name != "several files by name"  # of safetensors alone
        if not name.startswith("by the path alone, on ")
    }
    assert {corner: counts[corner] for corner, least in wanted.items() if counts[corner] < least} == {}


@pytest.mark.thorough
@pytest.mark.parametrize("size", range(1, 9))
def test_every_world_size_is_drawn(size: int) -> None:
    drawn = sampled_scenarios("nothing")
    assert sum(scenario.save.world_size == size for scenario in drawn) >= 3
    assert sum(scenario.load.world_size == size for scenario in drawn) >= 3


def test_every_dtype_is_drawn() -> None:
    # With a number beside it, since Hypothesis stops where it has drawn everything once.
    counts = count(sample(st.tuples(st.integers(), dtypes())), lambda drawn: {drawn[1]})
    assert {name: counts[name] for name in DTYPES if counts[name] < 2} == {}


@pytest.mark.thorough
@pytest.mark.parametrize("operation", ["save", "load"])
def test_every_fault_is_drawn(operation: Literal["save", "load"]) -> None:
    def corners(scenario: Scenario) -> set[str]:
        world = scenario.operation(operation)
        failing = {fault.rank for fault in scenario.faults}
        found = {f"{fault.hook} through {fault.through}" for fault in scenario.faults}
        found |= {f"error {fault.error}" for fault in scenario.faults}
        found |= {"several hooks"} if len({fault.hook for fault in scenario.faults}) > 1 else set()
        if world.world_size > 1:
            found |= {"all fail"} if len(failing) == world.world_size else set()
            found |= {"coordinator alone"} if failing == {world.coordinator} else set()
            found |= {"all but the coordinator"} if world.coordinator not in failing else set()
        return found

    counts = count(sampled_scenarios(operation), corners)
    hooks = [(name, hook) for (of, name), hook in HOOKS.items() if of == operation]
    wanted = {f"{name} through call": 10 for name, _ in hooks}
    wanted |= {f"{name} through future": 3 for name, hook in hooks if hook.future}
    wanted |= {f"error {name}": 1 for name in ERRORS}
    wanted |= {"several hooks": 60, "all fail": 40, "coordinator alone": 40, "all but the coordinator": 40}
    assert {corner: counts[corner] for corner, least in wanted.items() if counts[corner] < least} == {}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: world_sizes(min_size=0), "min_size=0 must be at least 1"),
        (lambda: world_sizes(min_size=3, max_size=2), "max_size=2 is less than min_size=3"),
        (lambda: ranks(world_size=0), "rank"),
        (lambda: tensor_shapes(min_dims=2, max_dims=1), "max_dims=1 is less than min_dims=2"),
        (lambda: tensor_shapes(max_extent=0), "max_extent=0"),
        (lambda: chunk_sharding_specs(dims=0, world_size=2), "a tensor without dims cannot be sharded"),
        (lambda: chunk_sharding_specs(dims=1, world_size=0), "world_size=0"),
        (lambda: failing_ranks(world_size=2, coordinator=2), "coordinator=2 is no rank of a world of size 2"),
        (lambda: faults(operation="save", world_size=2, min_hooks=2, max_hooks=1), "max_hooks=1"),
        (lambda: state_dicts(min_entries=-1), "min_entries=-1 must be at least 0"),
        (lambda: nested_entries(max_depth=0), "max_depth=0"),
        (lambda: mismatched_entries(()), "without an entry"),
    ],
)
def test_bad_argument_is_refused(make: Callable[[], SearchStrategy[Any]], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        make()


def test_strategy_is_the_same_where_it_is_asked_for_again() -> None:
    """What Hypothesis has found out about it is kept with it, and costs more than to draw."""
    assert layouts(shape=(2, 3), dtype="float32", world_size=2) is layouts(shape=(2, 3), dtype="float32", world_size=2)
    # A list cannot be looked up, and does as well.
    assert find(layouts(shape=[2, 3], dtype="float32", world_size=2), lambda _: True, settings=QUIET) == Plain()


def test_equal_elements_of_other_types_are_not_taken_for_each_other() -> None:
    numbers, flags = sampled_from((0, 1)), sampled_from((False, True))
    assert numbers is sampled_from([0, 1])
    assert find(numbers, lambda drawn: drawn == 1, settings=QUIET) is not True
    assert find(flags, lambda drawn: drawn == 1, settings=QUIET) is True


def test_limit_holds_for_strategies_that_were_asked_for_before() -> None:
    most = settings(QUIET, max_examples=1000)
    assert find(operations(), lambda operation: operation.world_size > 4, settings=most)
    assert find(training_sides(), lambda side: side.parallelism.world_size > 4, settings=most)
    limit_world_sizes(4)
    try:
        with pytest.raises(NoSuchExample):
            find(operations(), lambda operation: operation.whole_world > 4, settings=most)
        with pytest.raises(NoSuchExample):
            find(training_sides(), lambda side: side.parallelism.world_size > 4, settings=most)
    finally:
        limit_world_sizes(None)


@settings(QUIET, max_examples=50)
@given(data=st.data(), size=world_sizes())
def test_bounds_hold(data: st.DataObject, size: int) -> None:
    sharding = data.draw(chunk_sharding_specs(dims=2, world_size=size, max_chunks=3))
    assert len(sharding.ranks) <= 3
    assert max(sharding.ranks) < size
    assert math.prod(data.draw(tensor_shapes(max_elements=10))) <= 10
    failing = data.draw(failing_ranks(world_size=size))
    assert failing
    assert failing <= set(range(size))
