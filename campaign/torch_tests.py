"""torch's own tests of DCP, from a checkout of the user's, as parts of a measure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from .files import write_whole
from .logs import Record
from .parts import Part
from .status import Refused

__all__ = ["THEIRS", "chosen_tests", "file_of", "told", "torch_test_parts"]

THEIRS = "torch's tests"
"""What tables call them."""

_JUNIT = "junit.xml"


def torch_test_parts(folder: Path, into: Path, patience: float) -> list[Part]:
    """A part for each file of tests in the folder, which is ``test/distributed/checkpoint`` of a checkout of pytorch.

    ``into`` is the directory of the parts. Raises :class:`Refused` where there is no test.
    """
    files = _files(folder)
    return [_part(name, [str(file)], folder, files, into, patience) for name, file in files.items()]


def chosen_tests(
    name: str, tests: Sequence[str], folder: Path, into: Path, patience: float, *, to_first: bool = False
) -> Part:
    """A part of that name: those tests alone, as records call them, in one process; or ``to_first`` that fails."""
    files = _files(folder)
    nodes = [f"{files[file_of(test)]}::{test.partition('::')[2]}" for test in tests]
    return _part(name, ["--maxfail=1", *nodes] if to_first else nodes, folder, files, into, patience)


def file_of(test: str) -> str:
    """The file that a test is in, as parts are called."""
    return test.partition("::")[0]


def _files(folder: Path) -> Mapping[str, Path]:
    found = sorted(folder.resolve().rglob("test_*.py"))
    if not found:
        raise Refused(f"there are no tests in {folder}: it takes test/distributed/checkpoint of a checkout of pytorch")
    return {".".join(file.relative_to(folder.resolve()).with_suffix("").parts): file for file in found}


def _part(name: str, what: Sequence[str], folder: Path, files: Collection[str], into: Path, patience: float) -> Part:
    place = into / name
    place.mkdir(parents=True, exist_ok=True)
    settings = into.resolve() / "pytest.ini"  # neither pytorch's nor this project's
    write_whole(settings, "[pytest]\n")
    options = [f"--rootdir={folder.resolve()}", "-c", str(settings), "--noconftest", "-p", "no:cacheprovider", "-q"]
    junit = f"--junitxml={place.resolve() / _JUNIT}"
    return Part(name, "pytest", (*what, *options, junit), partial(_read, files), patience, cwd=place)


def _read(files: Collection[str], status: int, output: str, place: Path) -> Record:
    """Which tests ``passed``, ``failed`` and how many ``skipped``, and how the process was ``lost``, if it was."""
    record: Record = {"file": place.name, "passed": [], "skipped": 0, "failed": []}
    junit = place / _JUNIT
    if not junit.exists():
        how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return {**record, "lost": how, "said": f"lost: {how}"}
    for case in ElementTree.parse(junit).iter("testcase"):
        name = _named(case.get("classname", ""), case.get("name", ""), files)
        if case.find("failure") is not None or case.find("error") is not None:
            record["failed"].append(name)
        elif case.find("skipped") is not None:
            record["skipped"] += 1
        else:
            record["passed"].append(name)
    return {**record, "said": _counts([record])}


def _named(dotted: str, name: str, files: Collection[str]) -> str:
    """``file::Class::test``; pytest has dots instead. A file that cannot be imported has no class, and no test."""
    file = next((file for file in files if f"{dotted}.".startswith(f"{file}.")), dotted or name)
    return "::".join(filter(None, [file, *dotted[len(file) + 1 :].split("."), name]))


def _counts(records: list[Record]) -> str:
    passed, failed = (sum(len(record[what]) for record in records) for what in ("passed", "failed"))
    return f"{passed} passed, {sum(record['skipped'] for record in records)} skipped, {failed} failed"


def told(records: list[Record]) -> str:
    """What came of all of them, in a line."""
    lost = sum("lost" in record for record in records)
    return f"torch's own tests: {_counts(records)} in {len(records)} files" + (f", {lost} of them lost" if lost else "")
