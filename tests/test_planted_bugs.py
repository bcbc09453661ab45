"""A bug planted in DCP is found by the laws within the ci profile, named, and shrunk to next to nothing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, seed, settings

from properties import judge
from properties.check import check
from properties.sharding import SHARDS
from properties.violations import Violation
from strategies import scenarios
from tests.planted_bugs import CORE_BUGS, Bug
from tests.planted_input_bugs import INPUT_BUGS
from tests.planting import planted
from worlds import Scenario, SimulatedWorld
from worlds.concise import pretty

pytestmark = pytest.mark.thorough

CI_EXAMPLES = SHARDS * 600  # of each law, in the profile ci


@pytest.mark.parametrize("bug", [*CORE_BUGS, *INPUT_BUGS], ids=lambda bug: bug.id)
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
    @given(scenario=scenarios(failing=bug.failing, mismatched=bug.mismatched))  # type: ignore[arg-type]
    def law(scenario: Scenario) -> None:
        last[:] = [scenario]  # the last one to run is the smallest
        check(scenario, world)

    with pytest.raises(Violation) as caught:
        law()
    return caught.value, last[0]
