"""Tensors that are tied: one memory under two names, as modules have it that share weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import find

from properties import judge
from strategies import state_dicts
from worlds import MeshSharding, Operation, Plain, Replicate, Scenario, SimulatedWorld, TensorEntry
from worlds.entries import Entry
from worlds.layouts import Layout
from worlds.parts import Box
from worlds.state import StateDict
from worlds.values import expected_bytes, poison_bytes

A, B = TensorEntry("a", (3,)), TensorEntry("b", (3,), tied="a")


def _memory(entries: tuple[Entry, ...], name: str) -> list[int]:
    scenario = Scenario(entries, Operation(distributed=False), Operation(distributed=False))
    state = StateDict(scenario, name, 0)  # type: ignore[arg-type]
    return [tensor.data_ptr() for tensor in state.entries.values()]


@pytest.mark.parametrize("entries", [(A, B), (B, A)])
def test_tied_tensors_are_saved_from_one_memory_and_loaded_into_two(entries: tuple[Entry, ...]) -> None:
    one, other = _memory(entries, "save")
    assert one == other
    one, other = _memory(entries, "load")
    assert one != other


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (A, replace(B, tied="")),
        (A, replace(B, tied="c")),
        (replace(A, key=""), replace(B, tied="")),
        (A, replace(B, dtype="int32")),
        (replace(A, saved=Plain(memory="window")), B),
        (A, replace(B, saved=Plain(memory="strided"))),
    ],
)
def test_other_tensors_are_not(one: TensorEntry, other: TensorEntry) -> None:
    assert len(set(_memory((one, other), "save"))) == 2


def test_tied_tensor_has_the_values_of_the_other() -> None:
    box = Box((1,), (2,))
    assert expected_bytes("b", B, box) == expected_bytes("a", A, box) != expected_bytes("b", replace(B, tied=""), box)
    assert poison_bytes("b", B, box) == poison_bytes("a", A, box)


@pytest.mark.parametrize("layout", [Plain(), Plain((1,)), MeshSharding((2,), (Replicate(),))])
@pytest.mark.parametrize("save", [Operation(2), Operation(2, api="async"), Operation(2, api="async", stager="shared")])
def test_tied_tensors_are_loaded_as_they_were_saved(layout: Layout, save: Operation, world: SimulatedWorld) -> None:
    scenario = Scenario((replace(A, saved=layout), replace(B, saved=layout, loaded=layout)), save, Operation(2))
    judge(scenario, world.run(scenario)).raise_for_violation()


def test_module_can_tie_its_parameters(world: SimulatedWorld) -> None:
    scenario = Scenario((A, B), Operation(api="async"), container="module")
    judge(scenario, world.run(scenario)).raise_for_violation()


def test_tied_tensor_is_drawn_beside_the_other() -> None:
    found = find(state_dicts(), lambda entries: any(isinstance(entry, TensorEntry) and entry.tied for entry in entries))
    assert found == (TensorEntry("a"), TensorEntry("tied", tied="a"))
