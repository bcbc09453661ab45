"""Scenarios as data: what they say of themselves, what they refuse, and that their vocabulary is torch's."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint import planner, storage

import worlds
from strategies import chunk_sharding_specs, scenarios, tensor_shapes
from worlds import (
    ChunkSharding,
    EnumerableSharding,
    Fault,
    InvalidScenario,
    MeshSharding,
    Nested,
    ObjectEntry,
    Operation,
    Plain,
    Replicate,
    Scenario,
    Schedule,
    Shard,
    TensorEntry,
    Tile,
)
from worlds.concise import pretty
from worlds.dtypes import DTYPES
from worlds.errors import ERRORS, NEVER_ARRIVES, NOT_AN_EXCEPTION, make_error
from worlds.hooks import HOOKS
from worlds.operations import WriterOptions
from worlds.parts import Box
from worlds.values import expected_bytes, poison_bytes

NAMES = {name: getattr(worlds, name) for name in worlds.__all__}
quick = settings(max_examples=50, deadline=None, derandomize=True, database=None)


TILES = EnumerableSharding((Tile(0, (0,), (1,)),))
LOCAL = EnumerableSharding(TILES.tiles, "CheckpointableTensor", padded=True)
SHARDED = TensorEntry("s", (2,), saved=ChunkSharding(0, (0, 1)))


@quick
@given(scenarios())
def test_repr_evaluates_to_the_scenario(scenario: Scenario) -> None:
    assert eval(repr(scenario), NAMES) == scenario
    assert eval(pretty(scenario), NAMES) == scenario


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ChunkSharding(0, ()), "at least one placement"),
        (lambda: ChunkSharding(0, (-1,)), "negative rank"),
        (lambda: TensorEntry("a", (-1,)), "negative extent"),
        (lambda: TensorEntry("a", dtype="float33"), "'float33'"),
        (lambda: TensorEntry("a", (1,), saved=ChunkSharding(1, (0,))), "no dim 1 to shard"),
        (lambda: TensorEntry("a", (), saved=ChunkSharding(0, (0,))), "no dim 0 to shard"),
        (lambda: TensorEntry("a", fill="zeros"), "unknown fill"),  # type: ignore[arg-type]
        (lambda: ObjectEntry("a", math.nan), "cannot hold"),
        (lambda: ObjectEntry("a", [1]), "cannot hold"),  # type: ignore[arg-type]
        (lambda: Operation(0), "a world needs a rank"),
        (lambda: Plain((0, 0)), "a rank is named twice"),
        (lambda: TensorEntry("a", (2,), loaded=Plain(memory="expanded"), fill="constant"), "elements are all one"),
        (lambda: TensorEntry("a", (2,), saved=Plain(memory="expanded")), "takes equal elements"),
        (lambda: TensorEntry("a", (2,), saved=Plain(memory="conjugated")), "'a' of float32 cannot be conjugated"),
        (lambda: TensorEntry("a", (2,), saved=TILES), "the tiles have 1 of the 2 elements"),
        (lambda: TensorEntry("a", (1, 1), saved=TILES), "a tile of 1 dims"),
        (lambda: TensorEntry("a", (1,), saved=EnumerableSharding(TILES.tiles * 2)), "tiles overlap"),
        (lambda: TensorEntry("a", (1,), saved=replace(TILES, padded=True)), "has padding"),
        (
            lambda: Scenario((TensorEntry("a", (1,), saved=LOCAL),), container="module"),
            "'a' is a CheckpointableTensor, which a module does not keep",
        ),
        (lambda: TensorEntry("a", saved=MeshSharding((1,), (Shard(0),))), "no dim 0 to shard"),
        (lambda: MeshSharding((2,), ()), "with 0 placements"),
        (lambda: MeshSharding((2,), (Replicate(),), (0,)), "a mesh of 2 ranks with 1"),
        (lambda: ObjectEntry("a", 1, "BytesIO"), "a BytesIO of what is not bytes"),
        (lambda: Nested("a", "dict", (Nested("b", "stateful"),)), "where DCP does not look"),
        (lambda: Operation(2, members=(0,)), "1 members of 2 ranks"),
        (lambda: Operation(2, members=(1, 0)), "not in order"),
        (lambda: Operation(2, no_dist=True), "no_dist is for one rank"),
        (lambda: Operation(stager="shared"), "only async_save has a stager"),
        (lambda: Operation(api="legacy", named_by="path"), "the legacy API takes a storage"),
        (lambda: Operation(api="legacy", named_by="storage"), "the legacy API takes a storage, and no id"),
        (lambda: Operation(named_by="name"), "a checkpoint is named by no 'name'"),  # type: ignore[arg-type]
        (lambda: Operation(api="async", named_by="path"), "async_save makes a default stager"),
        (
            lambda: Scenario(save=Operation(named_by="path"), writer=WriterOptions(thread_count=2)),
            "the default options",
        ),
        (lambda: Scenario(load=Operation(pathlike=True), storage="fsspec"), "fsspec has names of its own"),
        (lambda: Scenario(save=Operation(named_by="path"), storage="memory"), "DCP finds no writer that is of memory"),
        (
            lambda: Scenario(save=Operation(named_by="path"), faults=(Fault("save", 0, "writer.finish"),)),
            "a writer that DCP finds by the path is not one that fails",
        ),
        (lambda: Scenario(load=Operation(api="async")), "there is no 'async' load"),
        (lambda: Scenario((Nested("a", "stateful"),), load=Operation(api="legacy")), "knows no Stateful"),
        (lambda: Scenario((Nested("a", "tuple", (SHARDED,)),), save=Operation(2)), "in a container that is one object"),
        (lambda: Scenario((SHARDED,), Operation(2, api="uncoordinated"), Operation(2)), "'s' is resharded"),
        (lambda: Scenario(save=Operation(2, api="uncoordinated")), "loaded by as many ranks"),
        (lambda: Operation(2, 2, "legacy"), "coordinator 2 is not in the world"),
        (lambda: Operation(2, 1), "only the legacy API lets the coordinator be chosen"),
        (lambda: Operation(2, distributed=False), "there is one rank"),
        (lambda: Operation(1, schedule=Schedule((1,))), "a rank too many"),
        (lambda: Schedule((0, 0)), "a rank twice"),
        (lambda: WriterOptions(thread_count=0), "a writer needs a thread"),
        (lambda: Fault("save", 0, "reader.read_data"), "a save has no hook 'reader.read_data'"),
        (lambda: Fault("save", 0, "writer.finish", through="future"), "returns no future"),
        (lambda: Fault("save", 0, "writer.finish", "Oops"), "unknown error: 'Oops'"),
        (lambda: Scenario((TensorEntry("a"), ObjectEntry("a"))), "two entries have one name"),
        (lambda: Scenario((TensorEntry("a", (1,), saved=ChunkSharding(0, (1,))),)), "outside the world"),
        (lambda: Scenario((ObjectEntry("a"),), container="module"), "a module holds tensors only"),
        (lambda: Scenario((TensorEntry("a.b"),), container="module"), "no name for an attribute"),
        (lambda: Scenario(faults=(Fault("load", 1, "reader.read_data"),)), "the load has no rank 1 to fail"),
        (lambda: Scenario(faults=(Fault("save", 0, "writer.finish"),) * 2), "two faults are in one place"),
    ],
)
def test_what_is_illegal_is_refused_in_one_line(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(InvalidScenario) as caught:
        make()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@quick
@given(data=st.data(), shape=tensor_shapes(min_dims=1))
def test_chunks_are_those_of_torch_chunk(data: st.DataObject, shape: tuple[int, ...]) -> None:
    """``torch.chunk`` leaves the empty ones out; what they have is nothing, wherever they are said to be."""
    sharding = data.draw(chunk_sharding_specs(dims=len(shape), world_size=4))
    whole = torch.arange(math.prod(shape)).reshape(shape)
    of_torch = whole.chunk(len(sharding.ranks), sharding.dim)
    ours = sharding.chunks(shape)
    assert [rank for rank, _ in ours] == list(sharding.ranks)
    for (_, box), chunk in zip(ours, of_torch, strict=False):
        part = whole[tuple(slice(start, start + size) for start, size in zip(box.offsets, box.sizes, strict=True))]
        assert torch.equal(part, chunk)
    assert not any(box for _, box in ours[len(of_torch) :])


def test_hooks_are_all_that_a_storage_or_planner_can_be_called_at() -> None:
    """A method that a newer torch adds to one of these classes must be placed in the protocol, or left out by name."""
    bases = {
        ("save", "writer"): storage.StorageWriter,
        ("save", "planner"): planner.SavePlanner,
        ("load", "reader"): storage.StorageReader,
        ("load", "planner"): planner.LoadPlanner,
    }
    # Validates an id before there is an instance; is for readers that fill bytes in place, and torch has none.
    left_out = {"validate_checkpoint_id", "resolve_bytes"}
    for (operation, owner), base in bases.items():
        public = {name for name, _ in inspect.getmembers(base, inspect.isroutine) if not name.startswith("_")}
        hooks = {name.split(".")[1] for of, name in HOOKS if of == operation and name.startswith(owner)}
        assert public - left_out == hooks, (operation, owner)


def test_dtypes_are_all_that_torch_can_save() -> None:
    def can_be_saved(dtype: torch.dtype) -> bool:
        try:
            torch.save(torch.zeros(2, dtype=torch.uint8).new_empty(2, dtype=dtype), io.BytesIO())
        except Exception:
            return False
        return True

    every = {str(value).removeprefix("torch.") for value in vars(torch).values() if isinstance(value, torch.dtype)}
    assert {name for name in every if can_be_saved(getattr(torch, name))} == set(DTYPES)


def test_errors_are_as_they_are_said_to_be() -> None:
    import pickle

    def arrives(error: BaseException) -> bool:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return False
        return True

    made = {name: make_error(name, "message") for name in ERRORS}
    assert {name for name, error in made.items() if not arrives(error)} == NEVER_ARRIVES
    assert {name for name, error in made.items() if not isinstance(error, Exception)} == NOT_AN_EXCEPTION


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", ["distinct", "special", "constant"])
def test_values_depend_on_the_place_alone_and_poison_differs_everywhere(dtype: str, fill: Any) -> None:
    entry = TensorEntry("a", (7, 5), dtype, fill=fill)
    width = DTYPES[dtype].itemsize
    whole, poison = expected_bytes("a", entry, Box((0, 0), (7, 5))), poison_bytes("a", entry, Box((0, 0), (7, 5)))
    elements = [whole[start : start + width] for start in range(0, len(whole), width)]
    assert len(elements) == 35
    for start, element in enumerate(elements):
        assert poison[start * width : (start + 1) * width] != element
        assert expected_bytes("a", entry, Box(divmod(start, 5), (1, 1))) == element
    if fill == "distinct" and dtype != "bool":
        assert len(set(elements)) == 35
    assert (len(set(elements)) == 1) == (fill == "constant")
