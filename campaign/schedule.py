"""Which law the next slice of time goes to."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from .folder import Plan
from .tally import LawTally, Tally
from .unit import Unit, seed_of

__all__ = ["Schedule", "shares"]

_HARDLY_ANY = 0.01  # new behaviours a second, which is as good as none

_ERRORS = 3
"""After so many units in which the tester itself failed, a law has no more."""


def shares(laws: Sequence[str], tallies: Mapping[str, LawTally], floor: float) -> dict[str, float]:
    """The part of the time that each law is to have: an equal one of ``floor``, and of the rest as it shows new things.

    That goes by the square root of the new behaviours a second, since what is cheap to run would else have all of it.
    """
    rates = {law: math.sqrt((tallies[law].fresh if law in tallies else 1.0) + _HARDLY_ANY) for law in laws}
    whole = sum(rates.values())
    return {law: floor / len(laws) + (1 - floor) * rates[law] / whole for law in laws}


class Schedule:
    """Gives out units; what is under way counts as time that is spent already."""

    def __init__(self, plan: Plan, tally: Tally, known: Sequence[str] = ()) -> None:
        self._plan = plan
        self._tally = tally
        self._given = Counter({name: law.units for name, law in tally.laws.items()})
        self._known = known
        self._charged: defaultdict[str, float] = defaultdict(float)
        self._running: dict[str, tuple[str, float]] = {}

    def next(self, seconds: float) -> Unit | None:
        """The next unit, of so many seconds at most; ``None`` where each law has had all that it is to have."""
        plan = self._plan
        failed = Counter[str]()
        for (law, _), count in self._tally.errors.items():
            failed[law] += count
        laws = [law for law in plan.laws if failed[law] < _ERRORS and self._given[law] < (plan.units or math.inf)]
        if not laws:
            return None
        wanted = shares(laws, self._tally.laws, plan.floor)
        spent = {law: self._tally.laws[law].seconds if law in self._tally.laws else 0.0 for law in laws}
        spent = {law: seconds + self._charged[law] for law, seconds in spent.items()}
        for law, under_way in self._running.values():
            if law in spent:
                spent[law] += under_way
        law = min(laws, key=lambda name: (spent[name] / wanted[name], laws.index(name)))
        number = self._given[law] * plan.shards + plan.shard - 1
        self._given[law] += 1
        seconds = min(seconds, plan.unit_seconds)
        unit = Unit(
            f"{law}-{number}",
            law,
            seed_of(plan.seed, law, number),
            seconds,
            plan.unit_examples,
            plan.shrink_seconds,
            tuple({*self._known, *self._tally.findings}),
        )
        self._running[unit.id] = law, seconds
        return unit

    def ended(self, unit: str) -> None:
        """It is no longer under way."""
        self._running.pop(unit, None)

    def lost(self, unit: str) -> None:
        """Nor is it, and its whole time counts as spent: a law whose units are lost must not have all the time."""
        law, seconds = self._running.pop(unit, ("", 0.0))
        self._charged[law] += seconds
