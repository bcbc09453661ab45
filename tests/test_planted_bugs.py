"""A bug planted in DCP is found by the laws within the ci profile, named, and shrunk to next to nothing."""

from __future__ import annotations

import pytest

from properties import judge
from properties.check import check
from properties.violations import Violation
from strategies import scenarios
from tests.planted_bugs import CORE_BUGS, Bug
from tests.planted_input_bugs import INPUT_BUGS
from tests.shrinking import ci_examples, shrunk
from worlds import SimulatedWorld
from worlds.concise import pretty

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("bug", [*CORE_BUGS, *INPUT_BUGS], ids=lambda bug: bug.id)
def test_planted_bug_is_found_named_and_shrunk(bug: Bug, world: SimulatedWorld) -> None:
    with bug.planted():
        cases = scenarios(failing=bug.failing, mismatched=bug.mismatched)  # type: ignore[arg-type]
        violation, scenario = shrunk(cases, lambda case: check(case, world), Violation, max_examples=ci_examples())
        assert isinstance(violation, bug.kinds), violation
        assert not judge(scenario, world.run(scenario))
    check(scenario, world)  # without the bug nothing is new
    text = str(violation)
    assert f"scenario = {pretty(scenario)}\n" in text
    assert max(scenario.save.world_size, scenario.load.world_size) <= bug.ranks, text
    assert len(scenario.entries) <= bug.entries, text
    assert len(scenario.faults) <= bug.faults, text
