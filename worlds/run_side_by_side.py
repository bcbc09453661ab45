"""Runs two saves in one program, and each of them alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from .abandoned import Abandoned
from .calls import Upload, upload
from .example import ExampleWorld
from .launched import Launched
from .metadata import record_metadata
from .outcome import Deadlocked, Died, OperationOutcome, Outcome, RankOutcome, Returned
from .program import GroupOf, raised, round_trip, run_rank
from .scenario import Scenario
from .side_by_side import Name, SideBySide, SideBySideOutcome
from .state import StateDict

__all__ = ["run_side_by_side"]

Seen = tuple[RankOutcome | None, RankOutcome | None]
"""What a rank saw of either; ``None`` where it took no part."""

Paths = tuple[str | None, str | None]
"""Where each of the two is; ``None`` where there is nothing to do."""


def run_side_by_side(world: ExampleWorld, pair: SideBySide) -> SideBySideOutcome:
    """Save both and load both in one world, and then each alone."""
    directory = world.new_directory()
    try:
        with world.example():
            together = _run_together(world, pair, f"{directory}/one", f"{directory}/other")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    one, other = map(world.run, pair.both)
    return SideBySideOutcome(together, (one, other))


def _run_together(world: ExampleWorld, pair: SideBySide, *paths: str) -> tuple[Outcome, Outcome]:
    saved = _operate(world, pair, "save", (paths[0], paths[1]))
    one, other = (path if outcome.returned else None for path, outcome in zip(paths, saved, strict=True))
    loaded = _operate(world, pair, "load", (one, other))
    first, second = (
        round_trip(scenario, path, partial(_itself, save), partial(_itself, load))
        for scenario, path, save, load in zip(pair.both, paths, saved, loaded, strict=True)
    )
    return first, second


def _itself(outcome: OperationOutcome) -> OperationOutcome:
    return outcome


def _operate(world: ExampleWorld, pair: SideBySide, name: Name, paths: Paths) -> list[OperationOutcome]:
    begin = world.begin_in_rank if name == "save" else None
    body = partial(_in_rank, pair, name, paths, world.group_of, begin)
    schedule = pair.one.operation(name).schedule
    launched = world.launch(body, pair.whole_world(name), schedule=schedule)
    return [_outcome_of(scenario, name, number, launched) for number, scenario in enumerate(pair.both)]


def _outcome_of(scenario: Scenario, name: Name, number: int, launched: Launched[Seen]) -> OperationOutcome:
    operation = scenario.operation(name)
    found: list[RankOutcome] = []
    for rank in range(operation.world_size):
        seen = launched.ranks[operation.global_rank(rank)]
        one = seen if isinstance(seen, Deadlocked | Died) else seen[number]
        if one is not None:
            found.append(one)
    return OperationOutcome(tuple(found))


def _in_rank(
    pair: SideBySide, name: Name, paths: Paths, group_of: GroupOf, begin: Callable[[], None] | None, rank: int
) -> Seen:
    if begin is not None:
        begin()
    # All groups first, since every rank of the world makes them, and then each goes its own way.
    groups = {members: group_of(members) for scenario in pair.both if (members := scenario.operation(name).members)}
    if name == "save" and pair.how != "groups":
        return _upload_both(pair, rank, paths, groups)
    one, other = (
        None if path is None else run_rank(scenario, name, rank, path, [], group_of=groups.__getitem__)
        for scenario, path in zip(pair.both, paths, strict=True)
    )
    return one, other


def _upload_both(pair: SideBySide, rank: int, paths: Paths, groups: dict[tuple[int, ...], Any]) -> Seen:
    """Call for both uploads, and only then let them begin, and wait for them."""
    with ExitStack() as stack:
        begun = [
            _begin(scenario, rank, str(path), groups.get(scenario.save.members), stack)
            for scenario, path in zip(pair.both, paths, strict=True)
        ]
        for one in begun:
            if isinstance(one, _Begun):
                one.upload.let_go()
        first, second = (one.end() if isinstance(one, _Begun) else one for one in begun)
    return first, second


@dataclass(frozen=True)
class _Begun:
    """An upload in flight."""

    upload: Upload
    state: StateDict
    path: str

    def end(self) -> RankOutcome:
        """What comes of it."""
        try:
            metadata = self.upload.result()
        except Abandoned:
            raise
        except BaseException as error:
            return raised(error, self.path, self.state.observe(failed=True))
        return Returned(self.state.observe(), record_metadata(metadata))


def _begin(scenario: Scenario, rank: int, path: str, group: Any, stack: ExitStack) -> _Begun | RankOutcome:
    state = StateDict(scenario, "save", rank, group=group)
    try:
        return _Begun(stack.enter_context(upload(scenario, state, path, group)), state, path)
    except Abandoned:
        raise
    except BaseException as error:
        return raised(error, path, state.observe(failed=True))
