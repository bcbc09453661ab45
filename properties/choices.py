"""What a run chooses: the world that the laws run in, and with that how many examples a profile has."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import settings

from worlds import InvalidScenario, ProcessWorld, SimulatedWorld, TorchrunWorld
from worlds.planners import find_planners
from worlds.storages import SERVED, SHIPPED, find_storage, require_shared
from worlds.torchrun import NoJob, job_rank, job_size, serve

__all__ = [
    "NOT_OF_PLANNERS",
    "NOT_OF_STORAGES",
    "NOT_ON_A_SERVER",
    "NOT_ON_FILES",
    "WORLDS",
    "WorldChoice",
    "add_world_option",
    "chosen_planners",
    "chosen_storage",
    "chosen_world",
    "fewer",
    "largest_world",
    "on_files",
    "on_servers",
    "on_storages",
    "only_in",
    "require_usable",
    "serve_rank_0",
    "skip_in_other_world",
    "skip_on_storage",
    "why_unfit",
]


@dataclass(frozen=True)
class WorldChoice:
    """A world, by its name and the name of its fixture: the examples of a shard of each law in each profile."""

    examples: Mapping[str, int]


WORLDS = {
    SimulatedWorld.name: WorldChoice({"quick": 15, "ci": 300, "nightly": 20_000}),
    # An example costs twenty times as much, and a hang a second.
    ProcessWorld.name: WorldChoice({"quick": 5, "ci": 60, "nightly": 4_000}),
    TorchrunWorld.name: WorldChoice({"quick": 5, "ci": 120, "nightly": 4_000}),
}

only_in = pytest.mark.only_in
"""Marks a law that makes sense in the worlds of these names alone."""


on_storages = pytest.mark.on_storages
"""Marks a law that holds on any storage, and so runs where one is chosen."""

on_files = pytest.mark.on_files
"""Marks a law that holds on any storage that asks for its files as DCP or fsspec does, and without one on those."""

NOT_ON_FILES = "takes a --storage that asks for its files as DCP or fsspec does"
"""Why a law on those is skipped."""

on_servers = pytest.mark.on_servers
"""Marks a law that holds on any storage with an ``endpoint``, and without one, where ranks share a process, on ours."""

NOT_ON_A_SERVER = "takes a --storage with an endpoint"
"""Why a law on those is skipped."""

NOT_OF_STORAGES = "is not of storages: leave out --storage"
"""Why a law is skipped where one was chosen."""

NOT_OF_PLANNERS = "is not of planners: leave out --planner"
"""Why a law is skipped where some were chosen."""


def fewer(divisor: int) -> settings:
    """Of a law whose examples cost that many times what those of others do, in the simulated world.

    So a profile with many examples of the others has a sample of these, and a long run a long one.
    """
    assert settings.default is not None
    examples = settings.default.max_examples
    usual = WORLDS[SimulatedWorld.name].examples.get(settings.get_current_profile_name(), examples)
    return settings(max_examples=max(2, min(examples, usual // divisor)))


def add_world_option(parser: pytest.Parser) -> None:
    """Let ``--world`` choose."""
    names = ", ".join(WORLDS)
    group = parser.getgroup("dcp-stress")
    group.addoption("--world", metavar="WORLD", default=SimulatedWorld.name, help=f"where the laws run: {names}")
    where = f"where the laws save to: {', '.join(SHIPPED)}, or module:name of your own"
    group.addoption("--storage", metavar="STORAGE", help=where)
    group.addoption("--planner", metavar="PLANNERS", help="what the laws plan with: module:name of your own")
    group.addoption("--max-world-size", metavar="N", type=int, help="draw no world of more ranks")
    group.addoption("--checkpoint-dir", metavar="DIR", help="where the checkpoints of a job go")
    group.addoption("--group-timeout", metavar="S", type=float, default=120, help="of a job's groups, in seconds")


def chosen_world(config: pytest.Config) -> str:
    """The name of the world that was chosen; raises ``pytest.UsageError`` with one line if there is none."""
    name: str = config.getoption("--world")
    if name not in WORLDS:
        raise pytest.UsageError(f"there is no world {name!r}: --world takes {', '.join(WORLDS)}")
    return name


def chosen_storage(config: pytest.Config) -> str | None:
    """The storage that was chosen, if one was; raises ``pytest.UsageError`` with one line if it cannot be had."""
    name: str | None = config.getoption("--storage")
    if name is None:
        return None
    try:
        require_usable(name, chosen_world(config))
    except InvalidScenario as error:
        raise pytest.UsageError(f"--storage: {error}") from None
    return name


def chosen_planners(config: pytest.Config) -> str | None:
    """The planners that were chosen, if some were; raises ``pytest.UsageError`` with one line if there are none."""
    name: str | None = config.getoption("--planner")
    if name is None:
        return None
    try:
        find_planners(name)
    except InvalidScenario as error:
        raise pytest.UsageError(f"--planner: {error}") from None
    return name


def require_usable(storage: str, world: str) -> None:
    """Raise :class:`worlds.InvalidScenario`, with one line, unless that world can use that storage."""
    find_storage(storage)
    if world != SimulatedWorld.name:
        require_shared(storage)


def largest_world(config: pytest.Config) -> int | None:
    """The ranks of the largest world that may be drawn, if there is a limit; or else ``pytest.UsageError`` as above."""
    asked: int | None = config.getoption("--max-world-size")
    if asked is not None and asked < 1:
        raise pytest.UsageError(f"--max-world-size takes a number of ranks, 1 or more, not {asked}")
    if chosen_world(config) != TorchrunWorld.name:
        return asked
    try:
        size = job_size()
    except NoJob as error:
        raise pytest.UsageError(str(error)) from None
    if asked is not None and asked > size:
        raise pytest.UsageError(f"--max-world-size={asked} is more than the {size} ranks of the job")
    if config.getoption("numprocesses", None):
        raise pytest.UsageError("a job of torchrun runs one law at a time: leave out -n")
    return size if asked is None else asked


def serve_rank_0(config: pytest.Config) -> int | None:
    """Where this process is another rank of a job than 0: do what that one says, and return the exit status."""
    if config.getoption("--world") != TorchrunWorld.name or "RANK" not in os.environ or job_rank() == 0:
        return None
    return serve(timeout=config.getoption("--group-timeout"))


def skip_on_storage(item: pytest.Item) -> None:
    """Skip a law that is not of storages or planners where such were chosen, or is of storages of another kind."""
    if not item.nodeid.startswith("properties/"):
        return
    marks = {mark.name for mark in item.iter_markers()}
    config = item.config
    reason = why_unfit(marks, chosen_world(config), chosen_storage(config) or "", chosen_planners(config) or "")
    if reason is not None:
        pytest.skip(reason)


def why_unfit(marks: Collection[str], world: str, storage: str, planners: str) -> str | None:
    """Why a law with those marks does not hold there, if it does not; the storage is ``""`` where none is chosen."""
    if on_servers.name in marks:
        found = find_storage(storage or SERVED)
        here = found.limits.processes or world == SimulatedWorld.name
        return None if here and found.endpoint is not None else NOT_ON_A_SERVER
    if on_files.name in marks:
        return NOT_ON_FILES if storage and find_storage(storage).files is None else None
    if on_storages.name in marks:
        return None
    return NOT_OF_STORAGES if storage else NOT_OF_PLANNERS if planners else None


def skip_in_other_world(item: pytest.Item) -> None:
    """Skip a law that makes no sense in the world of this run."""
    marker = item.get_closest_marker("only_in")
    if marker is not None and chosen_world(item.config) not in marker.args:
        pytest.skip(f"makes sense in the {' or '.join(marker.args)} world alone")
