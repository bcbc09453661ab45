"""A state is loaded as it was saved, by way of files of safetensors."""

from __future__ import annotations

from hypothesis import given

from properties.choices import fewer, only_in
from properties.route_issues import check_route
from properties.sharding import sharded
from strategies import safetensors_routes
from worlds.example import ExampleWorld
from worlds.routes import Route


@only_in("simulated", "processes")
@sharded
@fewer(4)
@given(route=safetensors_routes())
def test_safetensors(shard: int, world: ExampleWorld, route: Route) -> None:
    """What went into files of safetensors, one for each rank or one in all, is loaded equal into any target."""
    check_route(route, world)
