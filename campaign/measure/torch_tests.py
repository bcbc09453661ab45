"""torch's own tests of DCP against planted bugs, beside the laws: which of those that pass without a bug fail with it.

All tests are run twice without a bug, in processes that are otherwise as those with one. What passes both times looks
for the bugs, the files that take least CPU first, up to the first test that fails. A file whose process dies, or does
not end in ten times as long as without a bug, has found the bug too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..logs import Record
from ..parts import run_parts
from ..planted.bug import Bug, plant
from ..planted.processes import planting_site
from ..torch_tests import THEIRS, told, torch_test_parts

__all__ = ["TorchTests", "steady_tests"]

_MORE = 10
"""So many times as long as usual something takes that hangs."""


@dataclass(frozen=True)
class TorchTests:
    """The tests of a folder that look for bugs, by file, in the order in which they run.

    ``directory`` keeps what comes of each file. One that has not ended after its ``patience``, in seconds, is given up.
    """

    folder: Path
    tests: Mapping[str, Sequence[str]]
    directory: Path
    patience: Mapping[str, float]
    who = THEIRS
    has_seeds = False

    def race(self, bug: Bug, seed: int) -> Record:
        """What came of it. ``examples`` are the tests that were run, and ``law`` is the file that found the bug."""
        examples, cpu = 0, 0.0
        into = self.directory / "bugs" / bug.id
        parts = torch_test_parts(self.folder, into, 0, chosen=self.tests)
        with tempfile.TemporaryDirectory(prefix="dcp-stress-planted-") as directory, plant(bug):
            site = planting_site(bug, Path(directory))
            for part in parts:
                part = replace(part, patience=self.patience[part.name])
                (record,) = run_parts([part], into, show=lambda said: None, path=[site])
                examples += len(record["passed"]) + len(record["failed"])
                cpu += record["cpu"]
                found = [f"{test} failed" for test in record["failed"]] or [record.get("lost", "")]
                if found[0]:
                    spent = {"examples": examples, "cpu": round(cpu, 2)}
                    return {"state": "found", **spent, "law": part.name, "headline": found[0]}
        return {"state": "missed", "examples": examples, "cpu": round(cpu, 2)}


def steady_tests(folder: Path, directory: Path, *, patience: float, show: Callable[[str], None]) -> TorchTests:
    """Those that pass twice without a bug; the directory keeps that, too.

    A file has ``patience`` seconds, or ten times as long as it takes without a bug, if that is more. Raises
    :class:`campaign.status.Refused` where there is no test.
    """
    runs: list[list[Record]] = []
    with tempfile.TemporaryDirectory(prefix="dcp-stress-planted-") as site:
        planting_site(None, Path(site))
        for name in ("once", "twice"):
            parts = torch_test_parts(folder, directory / name, _MORE * patience)
            runs.append(run_parts(parts, directory / name, show=show, path=[Path(site)]))
    once, twice = runs
    cpu = {one["file"]: min(one["cpu"], other["cpu"]) for one, other in zip(once, twice, strict=True)}
    passed = {one["file"]: _in_both(one, other) for one, other in zip(once, twice, strict=True)}
    tests = {file: passed[file] for file in sorted(cpu, key=lambda file: cpu[file]) if passed[file]}
    show(f"without a bug, {told(twice)}")
    show(
        f"{sum(map(len, tests.values()))} tests in {len(tests)} files passed twice, and look for bugs; for one that "
        f"none of them finds, this takes about {sum(cpu[file] for file in tests):.0f} s of CPU"
    )
    longest = {one["file"]: max(one["seconds"], other["seconds"]) for one, other in zip(once, twice, strict=True)}
    return TorchTests(folder, tests, directory, {file: max(patience, _MORE * longest[file]) for file in tests})


def _in_both(one: Record, other: Record) -> list[str]:
    return [test for test in one["passed"] if test in set(other["passed"])]
