"""Tensors on an accelerator: drawn and run where there is one, and refused in one line where there is none.

Here there is one in any case, in a process of its own: a device that is written in Python (tests/python_device.py), on
which the laws run as they would on a GPU.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import NoSuchExample
from torch.distributed.checkpoint import DefaultLoadPlanner, filesystem

import worlds
from campaign.cli import main
from campaign.planted.plant import planted
from campaign.script import write_script
from campaign.smaller import smaller
from properties.judge import judge
from properties.judge_state import judge_state
from properties.violations import Violation, WrongTensor
from properties.whole_run import lines_of_what_is_amiss
from strategies import scenarios
from strategies.features import ACCELERATED, features
from tests.script_runs import command_of
from tests.script_texts import check_text
from tests.test_whole_run import ALL
from worlds import (
    ChunkSharding,
    EnumerableSharding,
    InvalidScenario,
    MeshSharding,
    Nested,
    ObjectEntry,
    Operation,
    Plain,
    Scenario,
    Shard,
    SimulatedWorld,
    TensorEntry,
    Tile,
    WriterOptions,
)
from worlds.layouts import Layout
from worlds.operations import Stager
from worlds.outcome import Returned, TensorState

ROOT = Path(__file__).parent.parent
ON_IT = Plain(device="accelerator")
SAVED = Scenario((TensorEntry("a", saved=ON_IT),))
UPLOADED = Scenario((TensorEntry("a"),), Operation(api="async", stager="pinned shared background"))
FEATURES = {(group, name) for group, name in ALL if name in ACCELERATED}
quick = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has none, whatever this one has."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


def test_device_is_data_that_is_left_out_where_it_is_the_cpu() -> None:
    assert repr(SAVED) == "Scenario(entries=(TensorEntry('a', saved=Plain(device='accelerator')),))"
    assert eval(repr(SAVED), {name: getattr(worlds, name) for name in worlds.__all__}) == SAVED
    assert Scenario.from_json(SAVED.to_json()) == SAVED
    assert "device" not in Scenario((TensorEntry("a"),)).to_json()


def test_what_cannot_be_on_it_is_refused() -> None:
    with pytest.raises(InvalidScenario, match="'a' is on an unknown device: 'cuda'"):
        TensorEntry("a", saved=Plain(device="cuda"))  # type: ignore[arg-type]
    with pytest.raises(InvalidScenario, match="'a' is on the meta device and on another"):
        TensorEntry("a", loaded=Plain(memory="meta", device="accelerator"))
    with pytest.raises(InvalidScenario, match="'a' is no tensor"):
        ObjectEntry("a", saved=ON_IT)
    with pytest.raises(InvalidScenario, match="'a' is in a container that is one object, and so on the CPU"):
        Scenario((Nested("t", "tuple", SAVED.entries),))


def test_tensors_on_two_devices_are_not_in_one_memory() -> None:
    one, other = SAVED.entries[0], TensorEntry("b", tied="a")
    assert isinstance(one, TensorEntry)
    assert not other.is_in_memory_of(one, "a")
    assert replace(other, saved=ON_IT).is_in_memory_of(one, "a")


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("command", ["replay", "minimize", "script"])
def test_machine_without_one_says_so_in_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.json"
    for scenario, said in (
        (SAVED, "a tensor is to be on an accelerator, and there is none here"),
        (UPLOADED, "to stage without waiting takes an accelerator, and there is none here"),
    ):
        path.write_text(scenario.to_json(), encoding="utf-8")
        assert main([command, str(path)]) == 3
        assert capsys.readouterr().err == f"dcp-stress: error: {said}\n"


def drawn() -> list[Scenario]:
    found: list[Scenario] = []

    @quick
    @given(scenarios())
    def keep(scenario: Scenario) -> None:
        found.append(scenario)

    keep()
    return found


@pytest.mark.usefixtures("without")
def test_drawn_where_there_is_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["strategies.layouts"], "is_held_by_accelerator", lambda dtype: False)
    assert not any(features(scenario) & FEATURES for scenario in drawn())
    with pytest.raises(NoSuchExample):
        find(scenarios(), lambda scenario: bool(features(scenario) & FEATURES), settings=quick)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(sys.modules["strategies.layouts"], "is_held_by_accelerator", lambda dtype: dtype != "float64")
    counts = [feature for scenario in drawn() for feature in features(scenario) & FEATURES]
    assert min(counts.count(feature) for feature in FEATURES) > 0
    entries = [entry for scenario in drawn() for entry in scenario.entries if isinstance(entry, TensorEntry)]
    layouts = [layout for entry in entries if entry.dtype == "float64" for layout in (entry.saved, entry.loaded)]
    assert all(layout is None or layout.device == "cpu" for layout in layouts)


@pytest.mark.usefixtures("without")
def test_no_run_is_asked_for_what_the_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = {feature: count for feature, count in ALL.items() if feature not in FEATURES}
    assert list(lines_of_what_is_amiss(hits)) == []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert list(lines_of_what_is_amiss(hits)) == [
        "never judged, of memory: accelerator, at save, accelerator, at load",
        "never judged, of api: async_save, pinned memory",
    ]


def test_goes_to_the_cpu_in_shrinking() -> None:
    assert Scenario((TensorEntry("a"),)) in smaller(SAVED)
    sharded = replace(SAVED, entries=(TensorEntry("a", (1,), saved=ChunkSharding(0, (0,), device="accelerator")),))
    assert Scenario((TensorEntry("a", (1,), saved=ChunkSharding(0, (0,))),)) in smaller(sharded)


def test_tensor_that_has_left_its_device_is_wrong(world: SimulatedWorld) -> None:
    """On the CPU, and told from what is on an accelerator by what a rank says of it."""
    scenario = Scenario((TensorEntry("a"),))
    seen = world.run(scenario)
    assert seen.load is not None
    (rank,) = seen.load.ranks
    assert isinstance(rank, Returned)
    (state,) = rank.state
    assert isinstance(state, TensorState)
    moved = replace(seen.load, ranks=(replace(rank, state=(replace(state, on_accelerator=True),)),))
    (breach,) = judge_state(scenario, "load", moved)
    assert breach.kind is WrongTensor
    assert "another device than its target: accelerator instead of cpu" in breach.headline
    on_it = Scenario((TensorEntry("a", loaded=ON_IT),))
    assert not list(judge_state(on_it, "load", moved))
    (breach,) = judge_state(on_it, "load", seen.load)
    assert "another device than its target: cpu instead of accelerator" in breach.headline


on_one = pytest.mark.skipif(not torch.accelerator.is_available(), reason="there is no accelerator here")

DEVICES: tuple[Literal["cpu", "accelerator"], ...] = ("cpu", "accelerator")
LAYOUTS: tuple[Layout, ...] = (
    Plain(),
    Plain(memory="transposed"),
    Plain(memory="strided"),
    Plain(memory="window"),
    Plain(memory="gradient"),
    ChunkSharding(0, (0, 1)),
    EnumerableSharding((Tile(0, (0, 0), (3, 1)), Tile(1, (0, 1), (3, 1)))),
    EnumerableSharding((Tile(1, (0, 0), (1, 2)), Tile(0, (1, 0), (2, 2))), "Checkpointable"),
    MeshSharding((2,), (Shard(1),)),
)


def on(layout: Layout, device: Literal["cpu", "accelerator"]) -> Layout:
    return replace(layout, device=device)


@on_one
def test_cases_with_it_are_drawn() -> None:
    assert {feature for scenario in drawn() for feature in features(scenario)} >= FEATURES


@on_one
@pytest.mark.parametrize("threads", [1, 2])
def test_any_is_saved_from_it_and_loaded_into_it(threads: int, world: SimulatedWorld) -> None:
    """By each of the two loaders of torch's writer: one overlaps copies to the CPU where one thread writes."""
    sides = [(on(layout, device), on(Plain(), device)) for layout, device in product(LAYOUTS, DEVICES)]
    for (saved, one), (loaded, other) in zip(sides, [*sides[5:], *sides[:5]], strict=True):
        tensor, scalar = TensorEntry("a", (3, 2), saved=saved, loaded=loaded), TensorEntry("b", saved=one, loaded=other)
        two = Operation(2)
        scenario = Scenario((tensor, scalar), two, two, WriterOptions(thread_count=threads))
        outcome = world.run(scenario)
        judge(scenario, outcome).raise_for_violation()
        assert outcome.load is not None
        for rank in outcome.load.ranks:
            assert isinstance(rank, Returned)
            states = [state for state in rank.state if isinstance(state, TensorState)]
            assert [state.on_accelerator for state in states] == [other == ON_IT] * 2


@on_one
@pytest.mark.parametrize("stager", ["writer", "default", "shared", "background", "pinned shared background"])
def test_any_stager_copies_from_it(stager: Stager, world: SimulatedWorld) -> None:
    layouts: tuple[Layout, ...] = (Plain(), Plain(memory="window"), MeshSharding((1,), (Shard(0),)))
    for layout in layouts:
        tensor = TensorEntry("a", (3, 2), saved=on(layout, "accelerator"), loaded=ON_IT)
        scalar = TensorEntry("b", saved=ON_IT)
        save = Operation(api="async", stager=stager)
        scenario = Scenario((tensor, scalar), save)
        judge(scenario, world.run(scenario)).raise_for_violation()


@contextmanager
def _forgotten_copy(threads: int) -> Iterator[None]:
    """A writer that does not bring tensors to the CPU before it writes them."""
    loader, old = {
        1: (filesystem._OverlappingCpuLoader, 'tensor.to(device="cpu", non_blocking=True)'),
        2: (filesystem._SerialCpuLoader, "tensor.cpu()"),
    }[threads]
    with planted(loader, "_refill" if threads == 1 else "values", old, "tensor"):
        yield


@on_one
@pytest.mark.parametrize("threads", [1, 2])
def test_writer_that_forgets_to_copy_is_found(threads: int, world: SimulatedWorld) -> None:
    scenario = replace(SAVED, writer=WriterOptions(thread_count=threads))
    with _forgotten_copy(threads):
        with pytest.raises(Violation) as raised:
            judge(scenario, world.run(scenario)).raise_for_violation()
        on_cpu = replace(scenario, entries=(TensorEntry("a"),))
        judge(on_cpu, world.run(on_cpu)).raise_for_violation()
    assert "AssertionError: Tensor must be on CPU" in str(raised.value)


def run(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    check_text(script)
    (directory / "reproduce.py").write_text(script, encoding="utf-8")
    launcher, *arguments = command_of(script)
    start = [sys.executable, *(["-m", "torch.distributed.run"] if launcher == "torchrun" else [])]
    return subprocess.run([*start, *arguments], cwd=directory, capture_output=True, text=True, check=False)


@on_one
def test_script_with_it_holds_tensors_there(world: SimulatedWorld, tmp_path: Path) -> None:
    """On processes that have the same accelerator, and nothing wrong; with any layout, from it and into it."""
    layouts = [on(layout, "accelerator") for layout in LAYOUTS]
    entries = [TensorEntry(f"a{number}", (3, 2), saved=layout) for number, layout in enumerate(layouts)]
    entries += [TensorEntry(f"b{number}", (3, 2), loaded=layout) for number, layout in enumerate(layouts)]
    scenario = Scenario(tuple(entries), Operation(2), Operation(2))
    for each in (scenario, UPLOADED):
        done = run(write_script(judge(each, world.run(each))), tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


@on_one
def test_script_with_it_shows_what_is_wrong_there_alone(
    world: SimulatedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = Operation(distributed=False)
    scenario = Scenario((TensorEntry("a", (2,), loaded=ON_IT),), alone, alone)
    with planted(DefaultLoadPlanner, "commit_tensor", "pass", "tensor.zero_() if not tensor.is_cpu else None"):
        script = write_script(judge(scenario, world.run(scenario)))
        check_text(script)
        (tmp_path / "reproduce.py").write_text(script, encoding="utf-8")
        with pytest.raises(SystemExit, match="a: 2 elements are not what was saved"):
            runpy.run_path(str(tmp_path / "reproduce.py"), run_name="__main__")
    runpy.run_path(str(tmp_path / "reproduce.py"), run_name="__main__")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(SystemExit) as raised:
        runpy.run_path(str(tmp_path / "reproduce.py"), run_name="__main__")
    assert raised.value.code == 2
    assert capsys.readouterr().out.endswith("This takes an accelerator, and there is none here.\n")


def pytest_on_it(directory: Path, *arguments: str) -> str:
    """What pytest says in processes, those of the ranks too, that have the accelerator that is written in Python."""
    (directory / "sitecustomize.py").write_text("import tests.python_device\n", encoding="utf-8")
    path = os.pathsep.join([str(directory), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-n0", "-q", *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    return done.stdout


none_here = pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator here")


@none_here
@pytest.mark.commands
@pytest.mark.thorough
def test_what_takes_one_on_the_one_in_python(tmp_path: Path) -> None:
    assert re.search(
        r"\b12 passed\b", pytest_on_it(tmp_path, "tests/test_accelerator.py", "-k", "with_it or from_it or forgets")
    )


@none_here
@pytest.mark.commands
def test_laws_hold_on_the_one_in_python(tmp_path: Path) -> None:
    laws = "round_trip or agreement or rebuilding or routes or damage or file_operations or side_by_side or blame"
    pytest_on_it(tmp_path, "properties", "--hypothesis-profile=quick", "-k", laws)
