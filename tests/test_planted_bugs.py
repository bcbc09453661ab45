"""A bug planted in DCP is found by the laws within the ci profile, named, and shrunk to next to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from torch.distributed.checkpoint import default_planner, filesystem, resharding, state_dict_saver, utils

from properties import judge
from properties.check import check
from properties.sharding import SHARDS
from properties.violations import (
    LostFailure,
    MetadataWrong,
    NotLoaded,
    Violation,
    WrongBits,
)
from strategies import scenarios
from tests.planting import planted
from worlds import Scenario, SimulatedWorld
from worlds.concise import pretty

pytestmark = pytest.mark.thorough

CI_EXAMPLES = SHARDS * 600  # of each law, in the profile ci


@dataclass(frozen=True)
class Bug:
    """A line of DCP, what to put in its place, the law that must break, and how small the scenario must become."""

    id: str
    owner: Any
    function: str
    old: str
    new: str
    failing: str
    kinds: tuple[type[Violation], ...]
    ranks: int = 1
    entries: int = 1
    faults: int = 0


BUGS = (
    Bug(
        "a resharding offset off by one",
        resharding,
        "_shards_get_overlap_region_wrt_saved_tensor",
        "offset_for_saved_tensor = current_shard_offset - saved_shard_offset",
        "offset_for_saved_tensor = max(0, current_shard_offset - saved_shard_offset - 1)",
        "nothing",
        (WrongBits,),
        ranks=2,
    ),
    Bug(
        "only the first failing rank kept",
        utils,
        "_get_failure_dict",
        "return cast(",
        "return dict(list({i: err for i, err in enumerate(results) if _is_wrapped_exception(err)}.items())[:1])\n"
        "    return cast(",
        "save",
        (LostFailure,),
        ranks=2,
        entries=0,
        faults=2,
    ),
    Bug(
        "the coordinator's failure booked on rank 0",
        utils._DistWrapper,
        "all_reduce",
        "node_failures[self.rank]",
        "node_failures[0]",
        "save",
        (LostFailure,),
        ranks=2,
        entries=0,
        faults=1,
    ),
    Bug(
        "a dropped write item",
        default_planner,
        "create_default_local_save_plan",
        "return SavePlan(requests)",
        "return SavePlan(requests[1:])",
        "nothing",
        (MetadataWrong,),
    ),
    Bug(
        "a finish error swallowed",
        state_dict_saver,
        "_save_state_dict",
        "storage_writer.finish(metadata=global_metadata, results=all_results)",
        "import contextlib\n        with contextlib.suppress(BaseException):\n"
        "            storage_writer.finish(metadata=global_metadata, results=all_results)",
        "save",
        (LostFailure,),
        entries=0,
        faults=1,
    ),
    Bug(
        "a dtype cast on load",
        filesystem.FileSystemReader,
        "read_data",
        "target_tensor.copy_(tensor)",
        "target_tensor.copy_(tensor.half() if tensor.is_floating_point() else tensor)",
        "nothing",
        (WrongBits, NotLoaded),
    ),
    Bug(
        "an async write error not awaited",
        state_dict_saver,
        "_save_state_dict",
        "all_writes.wait()\n        return all_writes.value()",
        "try:\n            return all_writes.value()\n        except BaseException:\n            return []",
        "save",
        (LostFailure,),
        entries=0,
        faults=1,
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_planted_bug_is_found_named_and_shrunk(bug: Bug, world: SimulatedWorld) -> None:
    with planted(bug.owner, bug.function, bug.old, bug.new):
        violation, scenario = _shrunk(bug, world)
        assert isinstance(violation, bug.kinds), violation
        assert not judge(scenario, world.run(scenario))
    assert judge(scenario, world.run(scenario)), "without the bug the scenario must pass"
    text = str(violation)
    assert f"scenario = {pretty(scenario)}\n" in text
    assert max(scenario.save.world_size, scenario.load.world_size) <= bug.ranks, text
    assert len(scenario.entries) <= bug.entries, text
    assert len(scenario.faults) <= bug.faults, text


def _shrunk(bug: Bug, world: SimulatedWorld) -> tuple[Violation, Scenario]:
    last: list[Scenario] = []

    @seed(0)
    @settings(
        max_examples=CI_EXAMPLES,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(scenario=scenarios(failing=bug.failing))  # type: ignore[arg-type]
    def law(scenario: Scenario) -> None:
        last[:] = [scenario]  # the last one to run is the smallest
        check(scenario, world)

    with pytest.raises(Violation) as caught:
        law()
    return caught.value, last[0]
