"""A bug planted in what DCP makes of an operation on files that fails is found within ci, named, and shrunk."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import pytest
from torch.distributed.checkpoint import filesystem, utils

from properties import judge
from properties.check import check
from properties.violations import LostFailure, MetadataUnreadable, NotLoaded, UnexpectedFailure, Violation
from strategies import failing_file_scenarios
from tests.planted_line import PlantedLine
from tests.shrinking import ci_examples, shrunk
from worlds import FileFault, SimulatedWorld
from worlds.concise import pretty

pytestmark = pytest.mark.thorough

CI_EXAMPLES = ci_examples(3)


@dataclass(frozen=True)
class FileBug(PlantedLine):
    """A line of DCP, what to put in its place, the laws that may break, and the faults of which one is left."""

    kinds: tuple[type[Violation], ...]
    faults: tuple[FileFault, ...]


_EXCEPT = "except (AttributeError, UnsupportedOperation)"
_OPEN = "with path.open(mode) as stream:"
_RENAME = "self.fs.rename(tmp_path, metadata_path)"
_IGNORE = "    except OSError:\n        pass\n"
BUGS = (
    FileBug(
        "an fsync that fails taken for one that is not supported",
        filesystem,
        "_write_files_from_queue",
        _EXCEPT,
        "except (AttributeError, OSError)",
        (LostFailure,),
        (FileFault("save", 0, "data.fsync"),),
    ),
    FileBug(
        "a short write unnoticed, without a buffer",
        filesystem.FileSystem,
        "create_stream",
        _OPEN,
        'with path.open(mode, 0 if "w" in mode else -1) as stream:',
        (UnexpectedFailure, NotLoaded, MetadataUnreadable),
        (FileFault("save", 0, "data.write", "short"), FileFault("save", 0, "metadata.write", "short")),
    ),
    FileBug(
        "a file that cannot be closed taken for one that is closed",
        filesystem,
        "_write_files_from_queue",
        "                stream.close()\n",
        f"                try:\n                    stream.close()\n{textwrap.indent(_IGNORE, 12 * ' ')}",
        (LostFailure,),
        (FileFault("save", 0, "data.close"),),
    ),
    FileBug(
        "metadata that cannot be renamed left as they are",
        filesystem._FileSystemWriter,
        "finish",
        f"    {_RENAME}\n",
        f"    try:\n        {_RENAME}\n{_IGNORE}",
        (LostFailure,),
        (FileFault("save", 0, "metadata.rename"),),
    ),
    FileBug(
        "a directory that cannot be made taken for one that is there",
        filesystem.FileSystem,
        "mkdir",
        "    path.mkdir(parents=True, exist_ok=True)\n",
        f"    try:\n        path.mkdir(parents=True, exist_ok=True)\n{_IGNORE}",
        (UnexpectedFailure,),
        (FileFault("save", 0, "directory.mkdir"),),
    ),
    FileBug(
        "a read that fails taken for the end of the file",
        utils._ReaderView,
        "readinto",
        "    return self.base_stream.readinto(b)  # type: ignore[attr-defined]\n",
        "    try:\n        return self.base_stream.readinto(b)\n    except OSError:\n        return 0\n",
        (LostFailure,),
        (FileFault("load", 0, "data.read", skip=1),),
    ),
)


LONG = (
    "a directory that cannot be made taken for one that is there",
    "a read that fails taken for the end of the file",
)
"""Those that take longest, and are left to a run of what is slow."""


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.id not in LONG], ids=lambda bug: bug.id)
def test_planted_bug_is_found_named_and_shrunk(bug: FileBug, world: SimulatedWorld) -> None:
    find_bug(bug, world)


@pytest.mark.slow
@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.id in LONG], ids=lambda bug: bug.id)
def test_planted_bug_that_takes_longer_is_found_too(bug: FileBug, world: SimulatedWorld) -> None:
    find_bug(bug, world)


def find_bug(bug: FileBug, world: SimulatedWorld) -> None:
    """Find the bug, and hold what is said of it, and how small it has become, against what must be."""
    with bug.planted():
        cases = failing_file_scenarios(max_world_size=1, max_entries=1)  # as found in larger ones, in less time
        violation, scenario = shrunk(cases, lambda case: check(case, world), Violation, max_examples=CI_EXAMPLES)
        assert isinstance(violation, bug.kinds), violation
        assert not judge(scenario, world.run(scenario))
    assert judge(scenario, world.run(scenario)), "without the bug the scenario must pass"
    text = str(violation)
    assert f"scenario = {pretty(scenario)}\n" in text
    assert len(scenario.file_faults) == 1, text
    assert scenario.file_faults[0] in bug.faults, text
    assert max(scenario.save.world_size, scenario.load.world_size) == 1, text
    assert len(scenario.entries) <= 1, text
