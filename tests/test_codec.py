"""Scenarios as JSON, both ways; whatever else is read ends in one clear line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import damaged_scenarios, rebuildings, scenarios
from worlds import InvalidScenario, ObjectEntry, Outcome, Scenario, SimulatedWorld
from worlds.codec import FORMAT, from_json, to_json
from worlds.rebuilding import Rebuilding


@settings(max_examples=200)
@given(scenario=scenarios(max_entries=5))
def test_round_trip(scenario: Scenario) -> None:
    assert Scenario.from_json(scenario.to_json()) == scenario
    assert repr(Scenario.from_json(scenario.to_json())) == repr(scenario)


@settings(max_examples=60)
@given(scenario=damaged_scenarios())
def test_round_trip_of_outcomes(scenario: Scenario, world: SimulatedWorld) -> None:
    outcome = world.run(scenario)
    assert from_json(to_json(outcome), Outcome) == outcome


@settings(max_examples=100)
@given(rebuilding=rebuildings())
def test_round_trip_of_other_cases(rebuilding: Rebuilding) -> None:
    assert from_json(to_json(rebuilding), Rebuilding) == rebuilding


def test_tuple_of_another_length_is_refused() -> None:
    failures = '{"is": "Raised", "error": {"type": "E", "message": ""}, "failures": [[0]]}'
    with pytest.raises(InvalidScenario, match=r"^the scenario at save\.ranks\[0\]\.failures\[0\] must be a list of 2"):
        from_json(f'{{"format": 1, "save": {{"ranks": [{failures}]}}}}', Outcome)


@pytest.mark.parametrize("value", [None, True, 1, 2**80, -0.0, 1e300, "", "\ud800", b"\0", (), ((1,), (b"", -0.0))])
def test_values_keep_their_type(value: Any) -> None:
    scenario = Scenario(entries=(ObjectEntry("a", value),))
    assert repr(Scenario.from_json(scenario.to_json())) == repr(scenario)


def test_newer_format_says_what_to_do() -> None:
    text = json.dumps({"format": FORMAT + 1})
    with pytest.raises(InvalidScenario, match=rf"^the scenario is of format {FORMAT + 1}, .*: upgrade it$"):
        Scenario.from_json(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no JSON"),
        ("[]", "is no JSON object"),
        ("{}", "was not written by dcp-stress"),
        ('{"format": true}', "was not written by dcp-stress"),
        ('{"format": 1, "format": 1}', "has a field twice"),
        ('{"format": 1, "speed": 3}', "unknown field 'speed'"),
        ('{"format": 1, "entries": [{}]}', "at entries[0] must be an object whose"),
        ('{"format": 1, "entries": [{"is": "TensorEntry"}]}', "at entries[0] lacks the field 'key'"),
        (
            '{"format": 1, "entries": [{"is": "TensorEntry", "key": "a", "dtype": "float7"}]}',
            "at entries[0] is not legal: 'a' has a dtype",
        ),
        (
            '{"format": 1, "entries": [{"is": "TensorEntry", "key": "a", "shape": [true]}]}',
            "at entries[0].shape[0] must be of type int",
        ),
        ('{"format": 1, "entries": [{"is": "ObjectEntry", "key": "a", "value": NaN}]}', "has the number NaN"),
        (
            '{"format": 1, "entries": [{"is": "ObjectEntry", "key": "a", "value": {"bytes": "x"}}]}',
            "at entries[0].value is no bytes",
        ),
        ('{"format": 1, "save": {"api": "newest"}}', "at save.api must be one of current, legacy"),
        ('{"format": 1, "save": 3}', "at save must be an object"),
        ('{"format": 1, "entries": ' + "[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, says: str) -> None:
    with pytest.raises(InvalidScenario) as caught:
        Scenario.from_json(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.thorough
@settings(max_examples=300)
@given(scenario=scenarios(), data=st.data())
def test_damaged_file_is_a_scenario_or_refused_in_one_line(scenario: Scenario, data: st.DataObject) -> None:
    document = json.loads(scenario.to_json())
    parents = [document]
    for parent in parents:
        inner = parent.values() if isinstance(parent, dict) else parent
        parents += [item for item in inner if isinstance(item, dict | list) and item]
    parent = data.draw(st.sampled_from(parents), label="where")
    key = data.draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))), label="key")
    if data.draw(st.booleans(), label="delete"):
        del parent[key]
    else:
        parent[key] = data.draw(_JSON, label="replacement")
    _read(json.dumps(document))


@settings(max_examples=100)
@given(scenario=scenarios(), cut=st.integers(0, 400))
def test_truncated_file_is_refused_in_one_line(scenario: Scenario, cut: int) -> None:
    text = scenario.to_json()
    _read(text[: min(cut, len(text) - 1)])


@given(text=st.text())
def test_any_text_is_refused_in_one_line(text: str) -> None:
    _read(text)


def _read(text: str) -> None:
    try:
        read = Scenario.from_json(text)
    except InvalidScenario as error:
        said = str(error).splitlines()
    else:
        said = [repr(read)]
    assert len(said) == 1
