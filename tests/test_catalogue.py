"""Each planted bug of the catalogue applies to the installed torch, and its witness shows it and else nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch.distributed.checkpoint import resharding, utils
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemWriter

from campaign.laws import all_laws
from campaign.opened import OpenedWorlds
from campaign.planted.bug import Bug, Change, Witness, plant
from campaign.planted.catalogue import CATALOGUE
from campaign.planted.plant import DoesNotApply, planted
from campaign.seen import look
from properties import judge
from properties.violations import WrongObject
from tests.planted_workers import OF_THIS_TORCH
from tests.warm_python import run_python
from worlds import Nested, Scenario, SimulatedWorld


@pytest.mark.thorough
@pytest.mark.parametrize("bug", OF_THIS_TORCH, ids=lambda bug: bug.id)
def test_witness_shows_the_bug_and_nothing_without_it(bug: Bug, opened: OpenedWorlds) -> None:
    law, case = all_laws()[bug.witness.law], bug.witness.case
    without, known = look(lambda: law.judge(case, opened)), bug.witness.known
    assert without.headline == (f"known: {known}" if known else "the laws hold")
    with plant(bug):
        seen = look(lambda: law.judge(case, opened))
    assert seen.violation is not None, seen.headline
    assert look(lambda: law.judge(case, opened)) == without, "the bug must be gone again"


@pytest.mark.parametrize("bug", OF_THIS_TORCH, ids=lambda bug: bug.id)
def test_bug_applies_to_the_installed_torch(bug: Bug) -> None:
    with plant(bug):
        pass


def test_catalogue_is_as_large_as_the_measure_needs() -> None:
    assert len(OF_THIS_TORCH) >= 80
    assert sum(bug.upstream is not None for bug in OF_THIS_TORCH) >= 15
    assert all(bug.id == key for key, bug in CATALOGUE.items())
    assert len({bug.title for bug in CATALOGUE.values()}) == len(CATALOGUE)
    assert len({bug.changes for bug in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change("utils:_get_failure_dict", "no such text", ""), "its source has no 'no such text'"),
        (Change("utils:no_such_function", "", ""), "has no function no_such_function"),
        (Change("utils:NoSuchClass.method", "", ""), "NoSuchClass"),
        (Change("no_such_module:function", "", ""), "no_such_module"),
        (Change("utils:_get_failure_dict", "results", "", until=(1, 0)), "is no bug of the installed torch"),
    ],
    ids=["text", "function", "class", "module", "release"],
)
def test_bug_that_does_not_apply_is_an_error(change: Change, said: str) -> None:
    with (
        pytest.raises(DoesNotApply, match=said),
        plant(Bug("some", "some bug", (change,), Witness("round_trip", None))),
    ):
        pass


def test_whoever_has_imported_the_function_has_the_bug_for_as_long_as_it_is_planted() -> None:
    imported = utils._get_failure_dict
    with planted(utils, "_get_failure_dict", "return cast(", "return ('planted',\n       "):
        assert imported([])[0] == "planted"  # type: ignore[comparison-overlap]
    assert imported([]) == {}


def test_methods_of_any_kind_and_with_super_can_have_a_bug(tmp_path: Path) -> None:
    with planted(FileSystem, "validate_checkpoint_id", "return True", "return 'planted'"):
        assert FileSystem.validate_checkpoint_id(tmp_path) == "planted"  # type: ignore[comparison-overlap]
    with planted(FileSystemWriter, "stage", "return super().stage(state_dict)", "return super().stage({}), 'planted'"):
        assert FileSystemWriter(tmp_path).stage({"a": 1}) == ({}, "planted")  # type: ignore[comparison-overlap]
    assert FileSystemWriter(tmp_path).stage({"a": 1}) == {"a": 1}


@pytest.mark.thorough
def test_processes_that_are_started_anew_have_the_bug(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys; from pathlib import Path\n"
        "from campaign.planted.catalogue import CATALOGUE\n"
        "from campaign.planted.processes import plant_in_new_processes\n"
        f"plant_in_new_processes(CATALOGUE['overlap-of-first-dim'], Path({str(tmp_path)!r}))\n"
        "own = 'from torch.distributed.checkpoint.resharding import _check_shard_metadata_pair_overlap as f;'\n"
        "subprocess.run([sys.executable, '-c', own + 'print(f.__code__.co_filename)'], check=True)\n"
    )
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "<planted in _check_shard_metadata_pair_overlap>\n"
    assert "planted" not in resharding._check_shard_metadata_pair_overlap.__code__.co_filename


def test_object_in_the_place_of_a_state_dict_is_told(world: SimulatedWorld) -> None:
    """It was asked for its keys, and the tester itself failed."""
    scenario = Scenario(entries=(Nested("a", "stateful"),))
    with plant(CATALOGUE["stateful-saved-as-object"]):
        wrong = world.run(scenario)
    breach = judge(scenario, replace(world.run(scenario), load=wrong.load)).breach
    assert breach is not None
    assert breach.kind is WrongObject
    assert "'a' on rank 0 is Stateful that was given a Stateful for its state dict" in breach.headline
