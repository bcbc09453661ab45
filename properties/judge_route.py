"""Judges a save and a load by a file of ``torch.save``: what is loaded is what was saved, as by DCP's own files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from worlds.concise import pretty
from worlds.outcome import Outcome, Raised
from worlds.routes import Route
from worlds.scenario import Scenario

from .judge import judge
from .judge_blame import judge_ended
from .judge_state import judge_state, judge_untouched
from .oracle import Expectation, OperationExpectation, Stage
from .reach import REFUSAL, collisions, shards_on_meta
from .verdict import Breach, Verdict, rank_text
from .violations import LostFailure, NotRefused, UnexpectedFailure, Violation, WrongRanks

__all__ = ["RouteBreach", "judge_route", "no_tensors", "refuses", "to_refuse", "to_refuse_of_the_file"]


@dataclass(frozen=True)
class RouteBreach:
    """What is wrong with what came by a way."""

    route: Route
    verdict: Verdict
    breach: Breach

    def violation(self) -> Violation:
        """The exception, with the whole text."""
        found = self.verdict.violation()
        assert found is not None
        text = str(found).replace(f"scenario = {pretty(self.route.scenario)}", f"route = {pretty(self.route)}")
        return type(found)(f"by {self.route.by}: {text}").at(found.place, found.fact)


def judge_route(route: Route, outcome: Outcome) -> RouteBreach | None:
    """The first thing that is wrong, or ``None``."""
    if route.by == "broadcast":
        breach = next(_breaches(route, outcome), None)
        verdict = Verdict(route.scenario, outcome, _expected(route), breach)
    else:
        verdict = judge(route.scenario, outcome)
    return None if verdict.breach is None else RouteBreach(route, verdict, verdict.breach)


def to_refuse(route: Route) -> dict[int, frozenset[str]]:
    """By rank, what it may say as it refuses what it must, for :func:`refuses`.

    In the order in which a load comes to them: shards on the meta device, names that collide, and what is no tensor,
    for DCP says that it broadcasts tensors alone.
    """
    ranks = range(route.scenario.load.world_size)
    found = {rank: _to_refuse(route.scenario, rank) for rank in ranks}
    return {rank: said for rank, said in found.items() if said}


def _to_refuse(scenario: Scenario, rank: int) -> frozenset[str]:
    if shards_on_meta(scenario, rank):
        return frozenset({"ShardedTensor'> for meta device loading."})
    colliding = collisions(scenario, "load", rank)
    if colliding:
        return frozenset(f"duplicated flatten key {name}\n" for name in colliding)
    units = scenario.units("load")
    return no_tensors(unit.fqn for unit in units if unit.tensor is None and unit.is_on("load", rank))


def to_refuse_of_the_file(route: Route) -> dict[int, frozenset[str]]:
    """As :func:`to_refuse`, of the rank that reads the file, where names collide once what is in there is flattened."""
    said = frozenset(f"duplicated flatten key {name}\n" for name in collisions(route.scenario, "save", 0))
    return {route.scenario.load.coordinator: said} if said else {}


def no_tensors(names: Iterable[str]) -> frozenset[str]:
    """What a rank may say as it refuses what has those names, for :func:`refuses`."""
    return frozenset(f"Non-tensor value identified at {name}. " for name in names)


def refuses(message: str, said: Iterable[str]) -> bool:
    """Whether a rank says one of these."""
    return any(each in f"{message}\n" for each in said)


def _expected(route: Route) -> Expectation:
    stages = tuple(Stage(phase, "rank", dict.fromkeys(ranks, (REFUSAL,)), {}) for phase, ranks in _refusing(route))
    return Expectation(OperationExpectation(()), OperationExpectation(stages))


def _refusing(route: Route) -> Iterator[tuple[Literal["plan", "read"], dict[int, frozenset[str]]]]:
    """The phases in which ranks are to refuse something, with what they may say; the first of them ends the load."""
    if refusing := to_refuse(route):
        yield "plan", refusing
    if refusing := to_refuse_of_the_file(route):
        yield "read", refusing


def _breaches(route: Route, outcome: Outcome) -> Iterator[Breach]:
    """There is no save by DCP to judge, and no metadata; the load has nothing to read them from."""
    if outcome.load is None:
        yield Breach(UnexpectedFailure, f"save: torch.save {rank_text(outcome.save.ranks[0])}", "save")
        return
    yield from judge_ended("load", outcome.load)  # first, since what others raise then comes of it
    phase, refusing = next(_refusing(route), ("plan", {}))
    for rank, seen in enumerate(outcome.load.ranks):
        if refusing:
            yield from _refusal(rank, seen, refusing, phase)
        elif isinstance(seen, Raised):
            yield Breach(UnexpectedFailure, f"load: rank {rank} {rank_text(seen)}", "load")
    yield from judge_untouched(route.scenario, outcome.load)
    if outcome.load.returned:
        yield from judge_state(route.scenario, "load", outcome.load)


def _refusal(rank: int, seen: object, refusing: dict[int, frozenset[str]], phase: str) -> Iterator[Breach]:
    if not isinstance(seen, Raised):
        yield Breach(NotRefused, f"load: rank {rank} returned, and what it was to load was to be refused", "load")
        return
    named = {who: error.message for who, error in seen.failures or ()}
    if seen.phase != phase or set(named) - set(refusing):
        yield Breach(WrongRanks, f"load: rank {rank} {rank_text(seen)}", "load")
    elif set(named) != set(refusing) or not all(refuses(named[who], refusing[who]) for who in named):
        yield Breach(LostFailure, f"load: rank {rank} {rank_text(seen)}", "load")
