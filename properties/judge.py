"""The judge: what every rank saw, against what the oracle expects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from worlds.outcome import MetadataRecord, OperationOutcome, Outcome, Returned
from worlds.scenario import Scenario
from worlds.values import expected_bytes

from .expected_requests import expected_of_requests
from .expected_state import Find
from .judge_blame import judge_blame
from .judge_damage import judge_damaged_load
from .judge_damaged_safetensors import judge_damaged_safetensors
from .judge_metadata import judge_metadata, judge_metadata_record
from .judge_state import judge_state, judge_untouched
from .oracle import Expectation, expected
from .verdict import Breach, Verdict

__all__ = ["judge", "judge_default_metadata", "judge_load", "judge_save"]


def judge(scenario: Scenario, outcome: Outcome) -> Verdict:
    """Whether the laws hold for this outcome of ``scenario``, and if not, which one broke first.

    A pure function. Raises ``ValueError`` for an outcome that cannot be one of this scenario: a judge that does not
    understand what it sees must never let it pass.
    """
    _check_size("save", outcome.save, scenario.save.world_size)
    if (outcome.load is not None) != outcome.save.returned:
        raise ValueError("a scenario is loaded if, and only if, its save returned on every rank")
    if outcome.load is not None:
        _check_size("load", outcome.load, scenario.load.world_size)
    expectation = expected_of_requests(scenario, outcome) if scenario.request_faults else expected(scenario)
    return Verdict(scenario, outcome, expectation, next(_breaches(scenario, outcome, expectation), None))


def judge_save(scenario: Scenario, outcome: Outcome) -> Verdict:
    """As :func:`judge`, of a save after which nothing was loaded."""
    _check_size("save", outcome.save, scenario.save.world_size)
    expectation = expected(scenario)
    return Verdict(scenario, outcome, expectation, next(_of_save(scenario, outcome, expectation), None))


def judge_load(scenario: Scenario, outcome: Outcome, *, find: Find = expected_bytes) -> Verdict:
    """As :func:`judge`, of a load of what the save of ``scenario`` has written; the save itself is not judged.

    ``find`` says what a tensor holds that was saved, as :func:`properties.expected_state.expected_state` takes it.
    """
    if outcome.load is None:
        raise ValueError("there is no load to judge")
    _check_size("load", outcome.load, scenario.load.world_size)
    expectation = expected(scenario)
    return Verdict(scenario, outcome, expectation, next(_of_load(scenario, outcome, expectation, find), None))


def judge_default_metadata(scenario: Scenario, records: Sequence[MetadataRecord]) -> Verdict:
    """Whether the metadata that each rank makes of its state dict alone tells the truth of the whole."""
    outcome = Outcome(OperationOutcome(tuple(Returned((), record) for record in records)))
    breaches = (breach for record in records for breach in judge_metadata_record(scenario, record))
    return Verdict(scenario, outcome, expected(scenario), next(breaches, None))


def _breaches(scenario: Scenario, outcome: Outcome, expectation: Expectation) -> Iterator[Breach]:
    yield from _of_save(scenario, outcome, expectation)
    yield from _of_load(scenario, outcome, expectation)


def _of_save(scenario: Scenario, outcome: Outcome, expectation: Expectation) -> Iterator[Breach]:
    yield from judge_blame(scenario, "save", expectation.save, outcome.save)
    if outcome.save.returned:
        yield from judge_state(scenario, "save", outcome.save)
        yield from judge_metadata(scenario, outcome)


def _of_load(
    scenario: Scenario, outcome: Outcome, expectation: Expectation, find: Find = expected_bytes
) -> Iterator[Breach]:
    load = outcome.load
    # Where the save should have failed and did not, that was the breach; so there is an expectation.
    if load is None or expectation.load is None:
        return
    if scenario.damages and outcome.metadata is not None:
        yield from judge_damaged_load(scenario, outcome, expectation.load)
    elif scenario.damages and outcome.places is not None:
        yield from judge_damaged_safetensors(scenario, outcome, expectation.load)
    else:
        yield from judge_blame(scenario, "load", expectation.load, load)
        yield from judge_untouched(scenario, load)
        if load.returned:
            yield from judge_state(scenario, "load", load, find=find)


def _check_size(name: str, outcome: OperationOutcome, world_size: int) -> None:
    if len(outcome.ranks) != world_size:
        raise ValueError(f"the {name} has {world_size} ranks, and the outcome {len(outcome.ranks)}")
