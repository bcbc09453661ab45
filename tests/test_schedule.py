"""The time of a campaign goes to the laws that show what is new, and to each some."""

from __future__ import annotations

from dataclasses import replace

import pytest

from campaign.folder import Plan
from campaign.schedule import Schedule, shares
from campaign.tally import LawTally, Tally
from campaign.unit import Unit

PLAN = Plan(("a", "b", "c"), "simulated", 600, 2, 0)


def _tally(**fresh: float) -> Tally:
    return Tally(laws={name: LawTally(units=1, seconds=10, fresh=rate) for name, rate in fresh.items()})


def test_time_goes_where_new_behaviour_appears_and_every_law_has_its_floor() -> None:
    given = shares(PLAN.laws, _tally(a=0, b=1, c=9).laws, 0.5)
    assert sum(given.values()) == pytest.approx(1)
    assert 0.5 / 3 < given["a"] < 0.2
    assert given["c"] - 0.5 / 3 == pytest.approx(3 * (given["b"] - 0.5 / 3), rel=0.02)
    assert shares(PLAN.laws, _tally(a=0, b=0, c=0).laws, 0.5) == pytest.approx(dict.fromkeys(PLAN.laws, 1 / 3))


def test_units_have_seeds_of_their_own_and_shards_share_them_out() -> None:
    units: dict[int, list[Unit]] = {}
    for shard in (1, 2):
        plan = replace(PLAN, shard=shard, shards=2, units=3)
        schedule = Schedule(plan, Tally())
        units[shard] = [unit for unit in iter(lambda: schedule.next(5), None) if unit is not None]  # noqa: B023
    alone = Schedule(replace(PLAN, units=6), Tally())
    every = [unit for unit in iter(lambda: alone.next(5), None) if unit is not None]
    assert {(unit.law, unit.seed) for shard in units.values() for unit in shard} == {
        (unit.law, unit.seed) for unit in every
    }
    assert len({unit.seed for unit in every}) == len(every) == 18


def test_law_whose_units_are_lost_or_fail_does_not_have_all_the_time() -> None:
    tally = Tally()
    schedule = Schedule(PLAN, tally)
    given = []
    for _ in range(30):
        unit = schedule.next(5)
        assert unit is not None
        given.append(unit.law)
        tally.add({"is": "begin", "unit": unit.id, "law": unit.law})
        if unit.law == "a":
            tally.add({"is": "lost", "unit": unit.id, "law": "a", "how": "killed", "case": None})
            schedule.lost(unit.id)
        else:
            counted: dict[str, object] = dict.fromkeys(
                ("features", "faults", "known", "violations", "drawn", "behaviours"), ()
            )
            tally.add({"is": "progress", "unit": unit.id, "n": 1, "examples": 1, "seconds": 5.0, **counted})
            tally.add({"is": "end", "unit": unit.id, "error": "it fails" if unit.law == "b" else ""})
            schedule.ended(unit.id)
    assert given.count("b") == 3, "in which the tester itself failed"
    assert given.count("a") <= 16
