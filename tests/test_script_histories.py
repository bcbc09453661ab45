"""Scripts of histories on real processes: each ends with 1 where what was seen is there, and with 0 without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from campaign.planted import bug as planting
from campaign.planted.catalogue import CATALOGUE
from campaign.script import CannotWrite, ledgers
from campaign.script.history import write_history_script
from properties.history_issues import HISTORY_ISSUES, find_history_breaches
from properties.judge_killed import MixedCheckpoint
from properties.ledger import torch_release
from tests.known_scripts import REPAIRS
from tests.script_runs import Plant, run_script
from tests.script_texts import check_text
from worlds import (
    ChunkSharding,
    Fault,
    FileFault,
    MeshSharding,
    ObjectEntry,
    Operation,
    PlannerOptions,
    ProcessWorld,
    Shard,
    SimulatedWorld,
    TensorEntry,
    WriterOptions,
)
from worlds.histories import History, Load, Save

TWO = Operation(2)
UPLOAD = Operation(2, api="async", stager="default")
A, B = TensorEntry("a", (4,)), TensorEntry("b", (2,))
ROWS = TensorEntry("a", (4,), saved=ChunkSharding(0, (0, 1, 0)), loaded=ChunkSharding(0, (0, 1)))
ON_MESH = TensorEntry("m", (4, 2), saved=MeshSharding((2,), (Shard(0),)), loaded=MeshSharding((2,), (Shard(1),)))
OBJECT = ObjectEntry("o", 1)
HALF = (Fault("save", 0, "writer.write_data"),)
_NOT_SHOWN = {"upload-begun-before-staging": "whether the stager's thread is faster than the caller is a race"}
OF_CATALOGUE = [
    bug
    for bug in CATALOGUE.values()
    if isinstance(bug.witness.case, History) and bug.id not in _NOT_SHOWN and bug.applies_to(torch_release())
]


def script_of(history: History, world: SimulatedWorld) -> str:
    """That of the last of what is wrong."""
    script = write_history_script(find_history_breaches(history, world)[-1], world)
    check_text(script)
    return script


def check_runs(script: str, directory: Path, repairs: Sequence[Plant], *says: str) -> None:
    """It shows the bug, and says so; and does not where torch is repaired."""
    for name, plants in (("released", []), ("repaired", repairs)):
        (directory / name).mkdir()
        run = run_script(script, directory / name, plants=plants)
        assert run.status == (0 if plants else 1), run.output
        assert all((text in run.output) != bool(plants) for text in says), run.output


def _unpicklable(of: Save | Load, hook: str) -> Save | Load:
    return replace(of, faults=(Fault(of.name, 1, hook, "Unpicklable"),))


ALONE = {
    "a save": _unpicklable(Save("b", TWO, without=("b",), again=("writer", "planner")), "planner.finish_plan"),
    "a load": _unpicklable(Load("a", TWO, again=("reader", "planner")), "reader.read_data"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", ALONE)
def test_what_takes_no_history_has_the_script_of_a_scenario(name: str, world: SimulatedWorld, tmp_path: Path) -> None:
    script = script_of(History((A, B), (Save("a", TWO), Load("a", TWO), ALONE[name])), world)
    assert (script.count("dcp.save("), script.count("dcp.load(")) == (1, int(name == "a load"))
    check_runs(script, tmp_path, [REPAIRS["unpicklable-exception"]], "[rank 0] still in ")


MIXED = {
    "with all that was used before": History(
        (ROWS, OBJECT),
        (
            Save("a", TWO),
            Load("a", TWO, without=("o",)),
            Save("a", TWO, again=("writer", "planner", "tensors"), faults=HALF),
            Load("a", TWO, again=("reader", "planner"), without=("o",)),
        ),
    ),
    "by a larger job, in part": History(
        (ROWS, ON_MESH, OBJECT),
        (
            Save("a", TWO, without=("o",)),
            Save("a", replace(TWO, api="legacy"), without=("o",), faults=HALF),
            Load("a", Operation(3, api="legacy", coordinator=2), partial=True),
        ),
    ),
    "by a writer that fails on a file, and then does not": History(
        (ON_MESH,),
        (
            Save("b", TWO),
            Save("b", TWO, again=("writer",), file_faults=(FileFault("save", 1, "data.open"),)),
            Save("a", TWO, again=("writer",)),
            Save("a", TWO, again=("writer",), faults=HALF),
            Load("a", Operation(distributed=False)),
        ),
    ),
    "under plan caches, by two jobs": History(
        (ROWS,),
        (Save("a", Operation(3)), Save("a", TWO), Save("a", TWO, faults=HALF), Load("a", TWO)),
        planner=PlannerOptions(enable_plan_caching=True),
    ),
    "after an upload that is overtaken, and cannot be staged": History(
        (ROWS,),
        (
            Save("a", UPLOAD, overtaken=True),
            Save("a", TWO),
            Save("a", TWO, faults=HALF),
            Load("a", TWO),
        ),
    ),
    "after a save that is overtaken": History(
        (ROWS, B),
        (
            Save("a", replace(UPLOAD, stager="writer"), again=("writer",), without=("b",), overtaken=True),
            Load("a", TWO, without=("b",)),
            Save("a", TWO, again=("writer",), without=("b",), faults=HALF),
            Load("a", without=("b",)),
        ),
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", MIXED)
def test_script_shows_what_a_history_mixes(name: str, world: SimulatedWorld, tmp_path: Path) -> None:
    """Where a checkpoint that is written over is not there until all is written, the load fails by name."""
    breach = find_history_breaches(MIXED[name], world)[-1]
    assert breach.kind is MixedCheckpoint
    says = "what was loaded is"
    check_runs(script_of(MIXED[name], world), tmp_path, [REPAIRS["mixed-after-death"]], says)


@pytest.mark.thorough
def test_load_shows_what_was_staged_over(world: SimulatedWorld, tmp_path: Path) -> None:
    """By several threads, of which nobody knows which writes which file."""
    first = Save("a", UPLOAD, overtaken=True)
    steps = (first, Save("b", UPLOAD, again=("stager", "tensors")), Load("a", TWO))
    history = History((A, ON_MESH), steps, writer=WriterOptions(thread_count=2))
    says = "what was loaded is not what was saved at step 1"
    check_runs(script_of(history, world), tmp_path, [REPAIRS["staged-over-an-upload"]], says)


@pytest.mark.thorough
@pytest.mark.parametrize("bug", OF_CATALOGUE, ids=lambda bug: bug.id)
def test_script_shows_a_planted_bug(bug: planting.Bug, world: SimulatedWorld, tmp_path: Path) -> None:
    with planting.plant(bug):
        script = script_of(bug.witness.case, world)
    assert len(script.splitlines()) < 120
    for name, plants in (("with", [*map(_plant, bug.changes)]), ("without", [])):
        (tmp_path / name).mkdir()
        run = run_script(script, tmp_path / name, plants=plants)
        assert run.status == (1 if plants else 0), run.output


def _plant(change: planting.Change) -> Plant:
    module, _, path = change.where.partition(":")
    owner, _, function = path.rpartition(".")
    module = module if module.startswith("torch.") else f"torch.distributed.checkpoint.{module}"
    return Plant(f"{module}:{owner}" if owner else module, function, change.old, change.new)


def test_script_is_of_the_first_breach_that_is_new(processes: ProcessWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    issue = HISTORY_ISSUES["mixed-after-failure"]
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    twice = replace(issue.history, steps=(*issue.history.steps, Load(operation=TWO)))
    monkeypatch.setattr(ledgers, "find_history_issue", lambda breach: issue if breach.step == 2 else None)
    script = ledgers.write_case_script(twice, processes)
    assert script is not None
    assert ", at step 4:" in script


def test_what_has_no_script_is_refused_in_one_line(world: SimulatedWorld) -> None:
    """A bool is the same at any step but none."""
    history = MIXED["with all that was used before"]
    mixed = replace(history, entries=(replace(ROWS, dtype="bool"), OBJECT))
    breach = replace(find_history_breaches(history, world)[-1], history=mixed)
    with pytest.raises(CannotWrite, match=r"^there is no script yet for a history of containers, or of such a dtype$"):
        write_history_script(breach, world)
