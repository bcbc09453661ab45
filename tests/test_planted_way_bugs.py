"""A bug planted where a state goes another way, or two go at once, is found within the ci profile, named and shrunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis.strategies import SearchStrategy
from torch.distributed.checkpoint import (
    default_planner,
    format_utils,
    optimizer,
    state_dict_loader,
    state_dict_saver,
)

from properties.judge_side_by_side import OtherSaveShows
from properties.judge_window import check_window
from properties.rebuilding_issues import check_rebuilding
from properties.route_issues import check_route
from properties.side_by_side_issues import check_side_by_side
from properties.violations import (
    NotLoaded,
    UnexpectedFailure,
    UnprotectedFailure,
    Violation,
    WrongBits,
    WrongKeys,
)
from strategies import rebuildings, routes, saves_side_by_side, windows
from tests.planted_line import PlantedLine
from tests.shrinking import shrunk
from worlds import Scenario, SimulatedWorld
from worlds.concise import pretty

pytestmark = pytest.mark.thorough

Law = tuple[SearchStrategy[Any], Callable[[Any, SimulatedWorld], None], int]
REBUILDING: Law = (rebuildings(), check_rebuilding, 4 * 200)
ROUTES: Law = (routes(), check_route, 4 * 200)
WINDOWS: Law = (windows(), check_window, 4 * 100)
SIDE_BY_SIDE: Law = (saves_side_by_side(), check_side_by_side, 4 * 100)
"""What a law draws, its check, and how many examples the profile ci has of it."""


@dataclass(frozen=True)
class Bug(PlantedLine):
    """A line of DCP, what to put in its place, the law that must break and how, and how small its input becomes."""

    law: Law
    kinds: tuple[type[Violation], ...]
    ranks: int = 1
    entries: int = 1


BUGS = (
    Bug(
        "a key that also finds names that only begin like it",
        default_planner._EmptyStateDictLoadPlanner,
        "_should_include_key",
        "any(unflattened_key in self.keys for unflattened_key in unflattened_keys)",
        "any(key.startswith(asked) for asked in self.keys)",
        REBUILDING,
        (WrongKeys,),
        entries=2,
    ),
    Bug(
        "one key taken for its letters",
        state_dict_loader,
        "_load_state_dict_from_keys",
        "keys = {keys}",
        "keys = set(keys)",
        REBUILDING,
        (WrongKeys,),
    ),
    Bug(
        "a conversion that drops what is no tensor",
        format_utils,
        "torch_save_to_dcp",
        "state_dict, storage_writer",
        "{k: v for k, v in state_dict.items() if torch.is_tensor(v)}, storage_writer",
        REBUILDING,
        (WrongKeys,),
    ),
    Bug(
        "a file that is read as one of weights only",
        format_utils,
        "torch_save_to_dcp",
        "weights_only=False",
        "weights_only=True",
        ROUTES,
        (UnexpectedFailure, UnprotectedFailure),
        entries=2,
    ),
    Bug(
        "a broadcast that only the coordinator takes over",
        format_utils.BroadcastingTorchSaveReader,
        "read_data",
        "target_tensor.copy_(tensor)",
        "self.is_coordinator and target_tensor.copy_(tensor)",
        ROUTES,
        (NotLoaded, WrongBits),
        ranks=2,
    ),
    Bug(
        "a window that is read from the beginning",
        optimizer._ReaderWithOffset,
        "create_local_plan",
        "_element_wise_add(original_shard.metadata.shard_offsets, offset)",
        "original_shard.metadata.shard_offsets",
        WINDOWS,
        (UnexpectedFailure, WrongBits),
        entries=4,  # each window has the same
    ),
    Bug(
        "an upload over another group than its own",
        state_dict_saver,
        "_save_state_dict",
        "_DistWrapper(process_group,",
        "_DistWrapper(None,",
        SIDE_BY_SIDE,
        (OtherSaveShows,),
        ranks=2,
        entries=0,
    ),
    Bug(
        "plans that are kept for the next save without being asked to",
        default_planner.DefaultSavePlanner,
        "__init__",
        "self._enable_plan_caching = enable_plan_caching",
        "self._enable_plan_caching = True",
        SIDE_BY_SIDE,
        (OtherSaveShows,),
        ranks=2,
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_planted_bug_is_found_named_and_shrunk(bug: Bug, world: SimulatedWorld) -> None:
    strategy, check, examples = bug.law
    with bug.planted():
        violation, found = shrunk(strategy, lambda case: check(case, world), Violation, max_examples=examples)
        assert isinstance(violation, bug.kinds), violation
    check(found, world)  # without the bug it must pass
    text = str(violation)
    assert f" = {pretty(found)}\n" in text
    for scenario in _scenarios(found):
        assert max(scenario.save.world_size, scenario.load.world_size) <= bug.ranks, text
        assert len(scenario.entries) <= bug.entries, text


def _scenarios(found: Any) -> tuple[Scenario, ...]:
    return found.both if hasattr(found, "both") else (found.scenario,)
