"""Requests that fail below a storage: they fail as they are told to, and what the storage makes of it is judged."""

from __future__ import annotations

import os
from typing import Any, Literal

import pytest
from hypothesis import given, settings

import worlds
from campaign.laws import chosen_laws
from campaign.status import Refused
from properties import judge
from properties.check import check
from properties.violations import BadStorageIndex
from strategies import failing_request_scenarios
from tests.shrinking import shrunk
from tests.test_pytest_run import run
from worlds import InvalidScenario, Nested, ObjectEntry, Operation, RequestFault, Scenario, SimulatedWorld, TensorEntry
from worlds.outcome import Hit, Outcome, Raised
from worlds.request_faults import REQUEST_ERRORS
from worlds.storages import SERVED

IMPATIENT, BELIEVING = (f"tests.http_storage:{name}" for name in ("Impatient", "Believing"))

FAULT, HOOK = RequestFault("save", 0), worlds.Fault("save", 0, "writer.finish")


def _run(storage: str, fault: RequestFault, world: SimulatedWorld) -> Outcome:
    """What came of a save by two ranks, each of which writes a tensor, and a load by one, with nothing wrong in it."""
    entries = tuple(TensorEntry(key, saved=worlds.Plain((rank,))) for rank, key in enumerate("ab"))
    scenario = Scenario(entries, Operation(2), storage=storage, request_faults=(fault,))
    outcome = world.run(scenario)
    judge(scenario, outcome).raise_for_violation()
    return outcome


@pytest.mark.parametrize("operation", ["save", "load"])
@pytest.mark.parametrize("error", REQUEST_ERRORS)
def test_what_fails_once_is_got_over(operation: Literal["save", "load"], error: str, world: SimulatedWorld) -> None:
    outcome = _run(SERVED, RequestFault(operation, 0, error, 1), world)
    assert outcome.save.returned
    assert outcome.load is not None
    assert outcome.load.returned
    assert (outcome.save if operation == "save" else outcome.load).hits == (Hit(0),)


@pytest.mark.parametrize("error", [error for error in REQUEST_ERRORS if error != "delayed"])
def test_what_lasts_is_told_on_every_rank(error: str, world: SimulatedWorld) -> None:
    """In the phase of the hook that gave up; and what is asked for once, fails at once."""
    for storage, lasting in ((SERVED, True), (IMPATIENT, False)):
        outcome = _run(storage, RequestFault("save", 1, error, 0, lasting), world)
        assert outcome.save.hits == (Hit(0), Hit(0, raised="writer.write_data"))
        for seen in outcome.save.ranks:
            assert isinstance(seen, Raised)
            assert (seen.phase, [rank for rank, _ in seen.failures or ()]) == ("write", [1])
        outcome = _run(storage, RequestFault("load", 0, error, 1, lasting), world)
        assert outcome.load is not None
        assert [hit.raised for hit in outcome.load.hits] == ["", "reader.read_data"]
        assert isinstance(outcome.load.ranks[0], Raised)
        assert outcome.load.ranks[0].phase == "read"


def test_request_that_is_never_made_fails_nobody(world: SimulatedWorld) -> None:
    outcome = _run(IMPATIENT, RequestFault("save", 1, "500", 1, lasting=True), world)
    assert outcome.save.hits == ()


def test_what_is_refused_is_refused_all_the_same(world: SimulatedWorld) -> None:
    """A name that stands for two things; the oracle once forgot that where requests fail."""
    entries = (Nested("c", entries=(ObjectEntry("x"),)), ObjectEntry("c.x"))
    for storage, fault in ((SERVED, FAULT), (IMPATIENT, RequestFault("save", 0, "dropped"))):
        scenario = Scenario(entries, storage=storage, request_faults=(fault,))
        assert judge(scenario, world.run(scenario))
        mismatched = Scenario((TensorEntry("a", saved=None),), storage=storage, request_faults=(fault,))
        assert judge(mismatched, world.run(mismatched))


@pytest.mark.thorough
def test_storage_that_takes_any_answer_is_found(world: SimulatedWorld) -> None:
    """It has reported a save as done, and what the metadata tell of is not there."""
    cases = failing_request_scenarios(storage=BELIEVING)
    violation, scenario = shrunk(cases, lambda case: check(case, world), BadStorageIndex, max_examples=100)
    assert " of no file '0/0/0'" in str(violation).splitlines()[0]
    assert scenario.request_faults[0].error in ("500", "503")
    assert (len(scenario.request_faults), scenario.save.world_size, len(scenario.entries)) == (1, 1, 1)


@settings(max_examples=50, database=None)
@given(scenario=failing_request_scenarios(storage=SERVED))
def test_scenario_round_trips(scenario: Scenario) -> None:
    assert scenario.request_faults
    assert Scenario.from_json(scenario.to_json()) == scenario == eval(repr(scenario), vars(worlds))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RequestFault("save", 0, "404"), "a request is dropped, truncated, 500, 503, delayed, not '404'"),
        (lambda: RequestFault("save", 0, skip=-1), "a count of requests is negative: -1"),
        (lambda: Scenario(request_faults=(FAULT,)), "file_system tells of no server whose requests could fail"),
        (lambda: Scenario(storage=SERVED, request_faults=(FAULT, FAULT)), "two requests that fail are one"),
        (
            lambda: Scenario(storage=SERVED, request_faults=(FAULT,), faults=(HOOK,)),
            "requests fail, or what is above them, and not both",
        ),
    ],
)
def test_what_is_no_fault_is_refused_in_one_line(make: Any, says: str) -> None:
    with pytest.raises(InvalidScenario) as caught:
        make()
    assert says in str(caught.value)


def test_process_that_forks_has_a_server_of_its_own(world: SimulatedWorld) -> None:
    """It once asked the one that it had forked from, and found nothing of what it had saved."""
    scenario = Scenario((TensorEntry("a"),), storage=SERVED)
    assert judge(scenario, world.run(scenario))
    child = os.fork()  # as the races of `measure` do
    if child == 0:
        try:
            with SimulatedWorld() as own:
                os._exit(0 if judge(scenario, own.run(scenario)) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.thorough
def test_law_is_of_storages_on_a_server() -> None:
    """On ours where none is chosen, as long as ranks find on it what others have saved."""
    for world, storage in (("simulated", ""), ("simulated", SERVED), ("simulated", IMPATIENT)):
        assert "requests" in {law.name for law in chosen_laws((), world, storage=storage)}
    for world, storage in (("processes", ""), ("processes", IMPATIENT), ("simulated", "memory")):
        assert "requests" not in {law.name for law in chosen_laws((), world, storage=storage)}
        with pytest.raises(Refused, match="the law requests takes a --storage with an endpoint"):
            chosen_laws(("requests",), world, storage=storage)
    done = run("properties/test_requests.py", "-k", "shard-0", f"--storage={IMPATIENT}")
    assert "1 passed" in done.stdout, done.stdout
