"""A state is loaded as it was saved, by whatever way that torch has for it."""

from __future__ import annotations

from hypothesis import given

from properties.choices import fewer, only_in
from properties.judge_window import check_window
from properties.route_issues import check_route
from properties.sharding import sharded
from strategies import routes, windows
from worlds import ProcessWorld
from worlds.example import ExampleWorld
from worlds.routes import Route
from worlds.windows import Window


@only_in("simulated", "processes")
@sharded
@fewer(3)
@given(route=routes())
def test_routes(shard: int, world: ExampleWorld, route: Route) -> None:
    """What ``torch.save`` wrote, converted or broadcast, is loaded equal into any target."""
    check_route(route, world)


@only_in("simulated")
@fewer(20)
@given(route=routes(max_world_size=3, max_entries=2))
def test_routes_on_real_ranks(processes: ProcessWorld, route: Route) -> None:
    """On processes, whose broadcasts are gloo's own, too."""
    check_route(route, processes)


@only_in("simulated", "processes")
@sharded
@fewer(6)
@given(window=windows())
def test_windows(shard: int, world: ExampleWorld, window: Window) -> None:
    """The planner of sharded optimizers loads a window of a tensor as what lies there, into a shard on each rank."""
    check_window(window, world)
