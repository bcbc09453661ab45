"""No rank waits for ever, and nothing hangs on who comes first."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from properties.check import World, check
from properties.choices import fewer, on_storages, only_in
from properties.judge import judge
from properties.known_issues import find_known_issue
from properties.known_issues.blame import fails_after_lost_thread
from properties.sharding import sharded
from strategies import scenarios
from worlds import Scenario, Schedule
from worlds.outcome import Outcome, Returned


@on_storages
@sharded
@fewer(2)  # the next one's examples are of the same kind
@given(scenario=scenarios(min_world_size=2))
def test_no_deadlock(shard: int, world: World, scenario: Scenario) -> None:
    """Whatever fails where, and in whatever order the ranks run, every rank returns or raises."""
    check(scenario, world)


@on_storages
@only_in("simulated")  # elsewhere the order is the system's
@sharded
@fewer(2)  # an example runs twice
@given(scenario=scenarios(min_world_size=2, max_world_size=5))
def test_order_of_ranks(shard: int, world: World, scenario: Scenario) -> None:
    """Every rank sees the same, in whatever order the ranks and their threads run."""
    save, load = (replace(operation, schedule=Schedule()) for operation in (scenario.save, scenario.load))
    in_order = replace(scenario, save=save, load=load)
    seen, natural = world.run(scenario), world.run(in_order)
    if any(map(_shows_a_known_issue, (scenario, in_order), (seen, natural))):
        return  # what that does may depend on the order; other laws count it
    for one, other in ((seen.save, natural.save), (seen.load, natural.load)):
        if one is not None and other is not None:
            # Where a rank wrote to depends on which of its threads came first; the law on metadata sees to that.
            assert [_without_metadata(rank) for rank in one.ranks] == [_without_metadata(rank) for rank in other.ranks]


def _shows_a_known_issue(scenario: Scenario, outcome: Outcome) -> bool:
    """Or would, but that a rank of which a thread's failure is lost is blamed for its next one."""
    known = find_known_issue(judge(scenario, outcome))
    return known is not None or fails_after_lost_thread(scenario, outcome.save)


def _without_metadata(rank: object) -> object:
    return replace(rank, metadata=None) if isinstance(rank, Returned) else rank
