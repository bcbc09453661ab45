"""When the server below a storage fails, every rank is told whose storage did not get over it, or all is right."""

from __future__ import annotations

from hypothesis import given

from properties.check import World, check
from properties.choices import fewer, on_servers
from properties.sharding import sharded
from strategies import failing_request_scenarios
from worlds import Scenario


@on_servers
@sharded
@fewer(3)
@given(scenario=failing_request_scenarios())
def test_requests(shard: int, world: World, scenario: Scenario) -> None:
    """A save or load some of whose requests fail names exactly the ranks whose storage gave up, or is exact."""
    check(scenario, world)
