"""torch's own tests of DCP against planted bugs, beside the laws: which of those that pass without a bug fail with it.

Without a bug, each file runs by itself, and what passes there once more as it looks for bugs: in one process, those of
the files that took least CPU first. What passes twice looks for bugs, up to the first test that fails. These processes
are as those with a bug but for that. One that dies, or takes ten times as long as without a bug, has found the bug too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..logs import Record
from ..parts import Part, run_parts
from ..planted.bug import Bug, plant
from ..planted.processes import planting_site
from ..status import Unable
from ..torch_tests import THEIRS, chosen_tests, file_of, told, torch_test_parts

__all__ = ["TorchTests", "steady_tests"]

_MORE = 10
"""So many times as long as usual something takes that hangs."""


@dataclass(frozen=True)
class TorchTests:
    """Tests of a folder that look for bugs, in their order, for ``patience`` seconds at most; results are kept."""

    folder: Path
    tests: Sequence[str]
    directory: Path
    patience: float
    who = THEIRS
    has_seeds = False

    def race(self, bug: Bug, seed: int) -> Record:
        """What came of it. ``examples`` are the tests that were run, and ``law`` is the file of the one that failed."""
        with plant(bug):
            into = self.directory / "bugs"
            part = chosen_tests(bug.id, self.tests, self.folder, into, self.patience, to_first=True)
            record = _run(part, into, bug)
        ran = len(record["passed"]) + len(record["failed"])
        spent: Record = {"examples": ran, "cpu": record["cpu"]}
        if "lost" in record:
            return {**spent, "state": "found", "law": THEIRS, "headline": f"their process was {record['lost']}"}
        for test in record["failed"]:
            return {**spent, "state": "found", "law": file_of(test), "headline": f"{test} failed"}
        return {**spent, "state": "missed"}


def steady_tests(folder: Path, directory: Path, *, patience: float, show: Callable[[str], None]) -> TorchTests:
    """Those that pass twice without a bug; the directory keeps what came of them.

    A run with a bug has ``patience`` seconds, or ten times as long as it takes without, if that is more. Raises
    :class:`campaign.status.Refused` where there is no test, and :class:`campaign.status.Unable` where none passes.
    """
    records = [_run(part, directory, None, show) for part in torch_test_parts(folder, directory, _MORE * patience)]
    show(f"without a bug, {told(records)}")
    tests = [test for record in sorted(records, key=lambda record: record["cpu"]) for test in record["passed"]]
    record = _run(chosen_tests("together", tests, folder, directory, _MORE * patience), directory, None)
    steady = [test for test in tests if test in record["passed"]]
    if not steady:
        raise Unable(f"none of torch's tests in {folder} passes here without a bug: see {directory}")
    show(f"{len(steady)} of them look for each bug, in {record['cpu']:.0f} s of CPU where none finds it")
    return TorchTests(folder, steady, directory, max(patience, _MORE * record["seconds"]))


def _run(part: Part, directory: Path, bug: Bug | None, show: Callable[[str], None] = lambda said: None) -> Record:
    with tempfile.TemporaryDirectory(prefix="dcp-stress-planted-") as site:
        (record,) = run_parts([part], directory, show=show, path=[planting_site(bug, Path(site))])
    return record
