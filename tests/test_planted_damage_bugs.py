"""A bug planted in how DCP reads a damaged checkpoint is found within the ci profile, named, and shrunk."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from torch.distributed.checkpoint import filesystem, hf_storage, state_dict_loader, utils

from properties import judge
from properties.damage_issues import check_damaged
from properties.violations import (
    LostFailure,
    UnexpectedFailure,
    Violation,
    WrongException,
    WrongRanks,
)
from strategies import damaged_scenarios
from tests.planted_line import FSSPEC_FILES, PlantedLine
from tests.shrinking import ci_examples, shrunk
from worlds import SimulatedWorld
from worlds.concise import pretty

pytestmark = pytest.mark.thorough

CI_EXAMPLES = ci_examples(2)


@dataclass(frozen=True)
class DamageBug(PlantedLine):
    """A line of DCP, what to put in its place, the law that must break, and how small the scenario must become."""

    kinds: tuple[type[Violation], ...]
    damages: tuple[str, ...]
    ranks: int = 1


_READ = "all_reads = storage_reader.read_data(final_local_plan, planner)"
_OPEN = "with path.open(mode) as stream:"
BUGS = (
    DamageBug(
        "an item that cannot be read left as it was",
        state_dict_loader,
        "_load_state_dict",
        f"        {_READ}\n",
        f"        try:\n            {_READ}\n        except (EOFError, RuntimeError):\n            return None\n",
        (LostFailure,),
        ("truncated",),
    ),
    DamageBug(
        "only the first rank that cannot read named",
        utils,
        "_get_failure_dict",
        "return cast(",
        "return dict(list({i: err for i, err in enumerate(results) if _is_wrapped_exception(err)}.items())[:1])\n"
        "    return cast(",
        (LostFailure,),
        ("missing",),
        ranks=2,
    ),
    DamageBug(
        "every rank named, whoever could not read",
        utils,
        "_get_failure_dict",
        "return cast(",
        "failed = {i: err for i, err in enumerate(results) if _is_wrapped_exception(err)}\n"
        "    return {i: next(iter(failed.values())) for i in range(len(results))} if failed else {}\n"
        "    return cast(",
        (WrongRanks,),
        ("missing",),
        ranks=2,
    ),
    DamageBug(
        "an older file read where the newer one is missing",
        filesystem.FileSystem,
        "create_stream",
        _OPEN,
        'older = Path(f"{path.parent}.older", path.name)\n'
        '    path = older if "r" in mode and older.exists() and not path.exists() else path\n'
        f"    {_OPEN}",
        (LostFailure,),
        ("missing", "stale"),
    ),
    DamageBug(
        "a missing file taken for an empty one",
        filesystem.FileSystem,
        "create_stream",
        _OPEN,
        f'if "r" in mode and not path.exists():\n        yield io.BytesIO()\n        return\n    {_OPEN}',
        (WrongException,),
        ("missing",),
    ),
    DamageBug(
        "a file that is left over held against the checkpoint",
        filesystem.FileSystemReader,
        "read_metadata",
        "return metadata",
        "import pathlib\n"
        "    known = {info.relative_path for info in metadata.storage_data.values()}\n"
        '    files = [file for file in pathlib.Path(self.path).iterdir() if file.suffix == ".distcp"]\n'
        "    if sum(file.stat().st_size > 0 for file in files) > len(known):\n"
        '        raise ValueError("files of another checkpoint")\n'
        "    return metadata",
        (UnexpectedFailure,),
        ("left over",),
    ),
    DamageBug(
        "metadata that cannot be read taken for metadata of nothing",
        filesystem.FileSystemReader,
        "read_metadata",
        "metadata = pickle.load(metadata_file)",
        "try:\n            metadata = pickle.load(metadata_file)\n"
        "        except (EOFError, pickle.UnpicklingError):\n"
        "            metadata = Metadata({}, storage_data={})",
        (LostFailure, WrongException, UnexpectedFailure),
        ("truncated",),
    ),
    DamageBug(
        "a file of safetensors that cannot be opened passed over",
        hf_storage.HuggingFaceStorageReader,
        "read_metadata",
        "    for safetensor_file in safetensors_files:\n",
        "    def opens(file):\n"
        "        try:\n"
        "            return safe_open(file, framework='pt') is not None\n"
        "        except Exception:\n"
        "            return False\n"
        "    for safetensor_file in filter(opens, safetensors_files):\n",
        (LostFailure,),
        ("truncated",),
    ),
    DamageBug(
        "a file of safetensors that is left over held against the checkpoint",
        hf_storage.HuggingFaceStorageReader,
        "read_metadata",
        "storage_data[metadata_index] = _HFStorageInfo(",
        "if 'shard-' in getattr(storage_data.get(metadata_index), 'relative_path', ''):\n"
        "                    if 'shard-' in safetensor_file:\n"
        "                        raise ValueError('files of another checkpoint')\n"
        "                storage_data[metadata_index] = _HFStorageInfo(",
        (UnexpectedFailure,),
        ("left over",),
    ),
    DamageBug(
        "a file that fsspec does not find taken for an empty one",
        FSSPEC_FILES,
        "create_stream",
        "with self.fs.open(path, mode) as stream:",
        'if "r" in mode and not self.fs.exists(path):\n'
        "        yield io.BytesIO()\n"
        "        return\n"
        "    with self.fs.open(path, mode) as stream:",
        (WrongException,),
        ("missing",),
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_planted_bug_is_found_named_and_shrunk(bug: DamageBug, world: SimulatedWorld) -> None:
    with bug.planted():
        cases = damaged_scenarios()
        violation, scenario = shrunk(
            cases, lambda case: check_damaged(case, world), Violation, max_examples=CI_EXAMPLES
        )
        assert isinstance(violation, bug.kinds), violation
        assert not judge(scenario, world.run(scenario))
    assert judge(scenario, world.run(scenario)), "without the bug the scenario must pass"
    text = str(violation)
    assert f"scenario = {pretty(scenario)}\n" in text
    assert "\ndamaged   " in text
    assert max(scenario.save.world_size, scenario.load.world_size) <= bug.ranks, text
    assert len(scenario.entries) <= 1, text
    assert tuple(sorted(damage.kind for damage in scenario.damages)) == bug.damages, text
