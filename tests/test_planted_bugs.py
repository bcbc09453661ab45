"""A bug planted in DCP is found by the law that is to find it within the ci profile, named, and made small.

In ``ci`` that is tried with one bug for each law, that with the smallest case of all; all of them take minutes.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import pytest

from campaign.cases import case_of
from campaign.laws import Law, all_laws
from campaign.measure.race import LAWS, Course, Record
from campaign.measure.run import measure, read_results
from campaign.measure.table import table
from campaign.opened import OpenedWorlds
from campaign.planted.bug import Bug, plant
from campaign.planted.catalogue import CATALOGUE
from campaign.seen import look
from campaign.size import size_of
from tests.planted_workers import OF_THIS_TORCH
from tests.warm_python import run_python
from worlds.concise import pretty

ONE_OF_EACH_LAW = [
    min((bug for bug in OF_THIS_TORCH if bug.witness.law == law), key=lambda bug: astuple(size_of(bug.witness.case)))
    for law in dict.fromkeys(bug.witness.law for bug in OF_THIS_TORCH)
]

TAKE_STEPS = {"training_state", "training_refusal"}
"""Laws that call ``backward()``: its threads, which a test before may have begun here, do not outlive a fork."""


@pytest.mark.thorough
@pytest.mark.parametrize("bug", ONE_OF_EACH_LAW, ids=lambda bug: bug.id)
def test_planted_bug_is_found_named_and_shrunk(bug: Bug, opened: OpenedWorlds, tmp_path: Path) -> None:
    import torch._dynamo  # noqa: F401  (as in the first DTensor of a process: here, not in each that is forked for it)

    law = all_laws()[bug.witness.law]
    record = _measured(bug, law, tmp_path)
    assert record["state"] == "found", record
    assert record["shrunk"], record
    [row] = table([record], CATALOGUE)[LAWS]
    assert row.as_small, record
    case = case_of(record["case"], law.case_type)
    with plant(bug):
        named = look(lambda: law.judge(bug.witness.case, opened))
        seen = look(lambda: law.judge(case, opened))
    assert named.violation is not None
    assert record["headline"] == seen.headline
    assert isinstance(seen.violation, type(named.violation)), record
    assert f" = {pretty(case)}\n" in str(seen.violation)
    assert look(lambda: law.judge(case, opened)).violation is None, "without the bug nothing new is wrong"


def _measured(bug: Bug, law: Law, directory: Path) -> Record:
    if law.name not in TAKE_STEPS:
        [record] = measure([bug], [0], [Course([law], alone=True)], directory)
        return record
    ended = run_python("-m", "campaign", "measure", bug.id, "--alone", f"--law={law.name}", f"--into={directory}")
    assert ended.returncode == 0, ended.stderr
    [record] = read_results(directory)
    return record


@pytest.mark.slow
@pytest.mark.thorough
def test_nearly_all_of_the_catalogue_are_found_soon_and_made_small(tmp_path: Path) -> None:
    laws = [law for law in all_laws().values() if law.runs_in("simulated")]
    records: list[Record] = list(measure(OF_THIS_TORCH, [0], [Course(laws, alone=True)], tmp_path, workers=2))
    raced = table(records, CATALOGUE)[LAWS]
    assert sum(row.found for row in raced) >= 0.95 * len(OF_THIS_TORCH), [row.bug for row in raced if not row.found]
    assert sum(row.as_small for row in raced) >= 0.9 * len(OF_THIS_TORCH), [
        row.bug for row in raced if not row.as_small
    ]
