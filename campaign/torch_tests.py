"""torch's own tests of DCP, from a checkout of the user's, as parts of a measure: a process for each file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from .files import write_whole
from .logs import Record
from .parts import Part
from .status import Refused

__all__ = ["THEIRS", "told", "torch_test_parts"]

THEIRS = "torch's tests"
"""What tables call them."""

_JUNIT = "junit.xml"


def torch_test_parts(
    folder: Path, into: Path, patience: float, *, chosen: Mapping[str, Sequence[str]] | None = None
) -> list[Part]:
    """A part for each file of tests in the folder, which is ``test/distributed/checkpoint`` of a checkout of pytorch.

    ``into`` is the directory of the parts. With ``chosen``, those tests of each file, in the order of the files, and
    none behind the first that fails. Raises :class:`Refused` where there is no test.
    """
    files = sorted(folder.resolve().rglob("test_*.py"))
    if not files:
        raise Refused(f"there are no tests in {folder}: it takes test/distributed/checkpoint of a checkout of pytorch")
    into.mkdir(parents=True, exist_ok=True)
    settings = into.resolve() / "pytest.ini"  # neither pytorch's nor this project's
    write_whole(settings, "[pytest]\n")
    named = {".".join(file.relative_to(folder.resolve()).with_suffix("").parts): file for file in files}
    parts = []
    for name in named if chosen is None else chosen:
        file = named[name]
        tests = [str(file)] if chosen is None else [f"{file}::{test}" for test in chosen[name]] + ["--maxfail=1"]
        place = into / name
        place.mkdir(exist_ok=True)
        options = [f"--rootdir={file.parent}", "-c", str(settings), "--noconftest", "-p", "no:cacheprovider", "-q"]
        junit = f"--junitxml={place.resolve() / _JUNIT}"
        parts.append(Part(name, "pytest", (*tests, *options, junit), _read, patience, cwd=place))
    return parts


def _read(status: int, output: str, place: Path) -> Record:
    """How many tests ``passed`` and were ``skipped``, which ``failed``, and how the process was ``lost``, if it was."""
    record: Record = {"file": place.name, "passed": [], "skipped": 0, "failed": []}
    junit = place / _JUNIT
    if not junit.exists():
        how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return {**record, "lost": how, "said": f"lost: {how}"}
    for case in ElementTree.parse(junit).iter("testcase"):
        of = case.get("classname", "").rpartition(".")[2]
        name = f"{case.get('name')}" if of == place.name.rpartition(".")[2] else f"{of}::{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            record["failed"].append(name)
        elif case.find("skipped") is not None:
            record["skipped"] += 1
        else:
            record["passed"].append(name)
    return {**record, "said": _counts([record])}


def _counts(records: list[Record]) -> str:
    passed, failed = (sum(len(record[what]) for record in records) for what in ("passed", "failed"))
    return f"{passed} passed, {sum(record['skipped'] for record in records)} skipped, {failed} failed"


def told(records: list[Record]) -> str:
    """What came of all of them, in a line."""
    lost = sum("lost" in record for record in records)
    return f"torch's own tests: {_counts(records)} in {len(records)} files" + (f", {lost} of them lost" if lost else "")
