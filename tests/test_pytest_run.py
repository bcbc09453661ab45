"""What a user reads: the header, the failure, the summaries; and which examples a run draws."""

from __future__ import annotations

import re
import subprocess

import pytest
import torch

from properties.choices import WORLDS
from tests.warm_python import run_python

PLANT = """
import sys, pytest
from torch.distributed.checkpoint import state_dict_saver
from campaign.planted.plant import planted
with planted(
    state_dict_saver, "_save_state_dict",
    "storage_writer.finish(metadata=global_metadata, results=all_results)",
    "import contextlib\\n        with contextlib.suppress(BaseException):\\n"
    "            storage_writer.finish(metadata=global_metadata, results=all_results)",
):
    sys.exit(pytest.main(sys.argv[1:]))
"""


def run(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    start = ["-m", "pytest"] if code is None else ["-c", code]
    return run_python(*start, "-p", "no:cacheprovider", *arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "profile quick (4 × 15"),
        (["--hypothesis-profile=ci"], "profile ci (4 × 300"),
        (["--hypothesis-profile=nightly"], "profile nightly (4 × 20000"),
    ],
)
def test_header_names_torch_world_and_profile(arguments: list[str], says: str) -> None:
    done = run("--collect-only", "properties/test_round_trip.py", *arguments)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("dcp-stress: ")]
    assert line.startswith(f"dcp-stress: torch {torch.__version__}, world simulated, {says} examples for each law)")


def test_header_names_the_world_that_was_chosen_and_its_examples() -> None:
    done = run("--collect-only", "properties/test_round_trip.py", "--world=processes", "--hypothesis-profile=ci")
    assert f", world processes, profile ci (4 × {WORLDS['processes'].examples['ci']} examples" in done.stdout


def test_unknown_world_ends_in_one_line() -> None:
    done = run("--world=real", "properties/test_round_trip.py", "--collect-only")
    assert done.returncode == 4
    assert done.stderr.strip().splitlines() == [f"ERROR: there is no world 'real': --world takes {', '.join(WORLDS)}"]


@pytest.mark.commands
@pytest.mark.thorough
def test_law_runs_on_real_ranks_and_one_that_makes_no_sense_there_says_so() -> None:
    laws = ["properties/test_round_trip.py", "properties/test_no_deadlock.py"]
    done = run(*laws, "--world=processes", "-k", "(round_trip or order) and shard-0", "-rs")
    assert "2 passed, 1 skipped" in done.stdout, done.stdout
    assert "makes sense in the simulated world alone" in done.stdout


def test_unknown_profile_ends_in_one_line() -> None:
    done = run("--hypothesis-profile=weekly", "properties/test_round_trip.py", "--collect-only")
    assert done.returncode == 4
    assert done.stderr.strip().splitlines() == [
        "ERROR: there is no profile 'weekly': --hypothesis-profile takes quick, ci, nightly"
    ]


def test_failing_law_says_what_broke_with_what_and_how_to_run_it_again() -> None:
    done = run("properties/test_blame.py", "--hypothesis-profile=ci", "-k", "save and shard-1", code=PLANT)
    assert done.returncode == 1, done.stdout
    assert (
        "LostFailure: save: rank 0 failed in writer.finish (OSError, through the call), and save() returned"
        in done.stdout
    )
    assert "E   scenario = Scenario(faults=(Fault('save', 0, 'writer.finish'),))" in done.stdout
    assert "Explanation" not in done.stdout
    again = "pytest --hypothesis-profile=ci 'properties/test_blame.py::test_blame_at_save[shard-1]'"
    assert again in done.stdout
    failure = done.stdout.split("= FAILURES =")[1].split("Run just this again")[0]
    assert len(failure.splitlines()) < 60, failure
    assert "c10d-" not in done.stdout + done.stderr, "DCP's log records stay out of it"


def _known(text: str) -> dict[str, int]:
    return {name: int(count) for count, name in re.findall(r"^ *(\d+) × ([\w-]+):", text, re.MULTILINE)}


@pytest.mark.commands
@pytest.mark.thorough
def test_summary_is_the_same_with_workers_and_in_each_run() -> None:
    """So the shards draw the same examples wherever they run, and what the laws met is summed up over the workers.

    A test of the tester in the same process, which clears the counters, takes nothing from them.
    """
    laws = ("properties/test_round_trip.py", "properties/test_metadata.py")
    alone = run(
        *laws, "tests/test_fuzz.py::test_finding_is_written_down_before_it_is_shrunk_and_only_its_group_is_raised"
    )
    spread = run(*laws, "-n2")
    assert alone.returncode == spread.returncode == 0, alone.stdout + spread.stdout
    assert _known(alone.stdout)
    assert _known(alone.stdout) == _known(spread.stdout)


@pytest.mark.thorough
def test_shards_draw_different_examples() -> None:
    law = "properties/test_round_trip.py::test_round_trip"
    done = [run(f"{law}[shard-{shard}]", "--hypothesis-show-statistics") for shard in (0, 1)]
    events = [[line for line in text.stdout.splitlines() if "%" in line] for text in done]
    assert events[0]
    assert events[0] != events[1]
