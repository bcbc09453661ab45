"""A bug planted in one storage is found by the laws on storages within the ci profile, named, and shrunk to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from torch.distributed.checkpoint import _consolidate_hf_safetensors, hf_storage

from properties.check import check
from properties.violations import BadStorageIndex, LostFailure, NotLoaded, UnexpectedFailure, Violation, WrongBits
from strategies import stored_scenarios
from tests.planted_line import FSSPEC_FILES, PlantedLine
from tests.shrinking import ci_examples, shrunk
from worlds import SimulatedWorld, reference
from worlds.concise import pretty

pytestmark = pytest.mark.thorough

CI_EXAMPLES = {"nothing": ci_examples(3), "save": ci_examples(4), "load": ci_examples(4)}
"""Of the laws on storages, by what fails, in the profile ci."""


@dataclass(frozen=True)
class Bug(PlantedLine):
    """A line of a storage, what to put in its place, how that must break a law and where, and how small it becomes."""

    kinds: tuple[type[Violation], ...]
    storages: tuple[str, ...]
    """Any of those that can show it."""
    failing: Literal["nothing", "save", "load"] = "nothing"
    ranks: int = 1
    entries: int = 1
    faults: int = 0


BUGS = (
    Bug(
        "a stream of fsspec that swallows what is raised as it is read",
        FSSPEC_FILES,
        "create_stream",
        "pass\n            raise",
        "pass",
        (LostFailure,),
        ("fsspec",),
        failing="load",
        faults=1,
    ),
    Bug(
        "files of fsspec that share a name",
        FSSPEC_FILES,
        "concat_path",
        "suffix)",
        'suffix.replace("1", "0"))',
        (BadStorageIndex,),
        ("fsspec",),
        ranks=2,
        entries=2,  # or one in two parts
    ),
    Bug(
        "a reader in memory that begins a byte too late",
        reference.ReferenceReader,
        "read_data",
        "stream = io.BytesIO(content[place.offset :",
        "stream = io.BytesIO(content[place.offset + 1 :",
        (UnexpectedFailure,),
        ("reference",),
    ),
    Bug(
        "a writer in memory that drops each second item",
        reference.ReferenceWriter,
        "write_data",
        "files[place.relative_path] = content",
        "if number % 2 == 0: files[place.relative_path] = content",
        (BadStorageIndex,),
        ("reference",),
        entries=2,
    ),
    Bug(
        "a storage in memory that acknowledges before it has the last item",
        reference.ReferenceWriter,
        "write_data",
        "return _done(results)",
        "files.popitem() if results else None\n    return _done(results)",
        (BadStorageIndex,),
        ("reference",),
    ),
    Bug(
        "a part of a file of safetensors read from its beginning",
        hf_storage.HuggingFaceStorageReader,
        "_process_read_request",
        "slice(offset, offset + length)",
        "slice(0, length)",
        (WrongBits,),
        ("safetensors", "consolidated"),
        ranks=2,
    ),
    Bug(
        "one file of safetensors for all ranks",
        hf_storage.HuggingFaceStorageWriter,
        "prepare_global_plan",
        'storage_data["shard_index"] = i',
        'storage_data["shard_index"] = 1',
        (NotLoaded, UnexpectedFailure),
        ("safetensors",),
        ranks=2,
        entries=2,
    ),
    Bug(
        "parts put into one file at the beginning of their tensor",
        _consolidate_hf_safetensors,
        "_write_sub_tensor_to_file_optimized",
        "idx + offset for",
        "idx for",
        (WrongBits,),
        ("consolidated",),
        ranks=2,
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_planted_bug_is_found_named_and_shrunk(bug: Bug, world: SimulatedWorld) -> None:
    with bug.planted():
        cases, examples = stored_scenarios(failing=bug.failing), CI_EXAMPLES[bug.failing]
        violation, scenario = shrunk(cases, lambda case: check(case, world), Violation, max_examples=examples)
        assert isinstance(violation, bug.kinds), violation
    check(scenario, world)  # without the bug it must pass
    text = str(violation)
    assert f"scenario = {pretty(scenario)}\n" in text
    assert scenario.storage in bug.storages, text
    assert max(scenario.save.world_size, scenario.load.world_size) <= bug.ranks, text
    assert len(scenario.entries) <= bug.entries, text
    assert len(scenario.faults) <= bug.faults, text
