"""Strategies for states that go by files of safetensors."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from worlds.entries import Entry, Nested, TensorEntry
from worlds.routes import Route, of_dtype, to_safetensors

from ._telling import tell
from .case_features import case_features
from .routes import tensors_alone
from .whole import scenarios, without_stateful

__all__ = ["safetensors_routes"]

_FLOATING = {"int64": "float64", "uint64": "float64", "int16": "float16", "uint16": "bfloat16", "int8": "float8_e5m2"}


@st.composite
def safetensors_routes(draw: DrawFn, *, max_world_size: int = 4, max_entries: int = 3) -> Route:
    """Any scenario of dtypes that safetensors can hold, with a file for each rank or with one that is made of those.

    Mostly of tensors alone, since that is all that the files can hold; and, where they are made one, mostly of
    floating-point ones and often saved without ``checkpoint_id``: all else fails in released torch, so that nothing
    behind it would be seen. Shrinks towards a file for each rank.
    """
    consolidated = draw(st.booleans(), label="consolidated")
    scenario = draw(
        scenarios(failing="nothing", max_world_size=max_world_size, max_entries=max_entries), label="scenario"
    )
    anything = draw(st.sampled_from((False,) * 9 + (True,)), label="anything")
    legacy = draw(st.booleans(), label="without checkpoint_id, if consolidated")
    scenario = to_safetensors(scenario)
    floating = draw(st.sampled_from((True, True, True, False)), label="floating point alone, if consolidated")
    if not anything:
        scenario = replace(scenario, entries=tensors_alone(scenario.entries))
    if consolidated and floating:
        scenario = replace(scenario, entries=tuple(map(_floating, scenario.entries)))
    if consolidated and legacy and not anything:
        save = replace(scenario.save, api="legacy", stager="writer")
        scenario = replace(scenario, entries=tuple(map(without_stateful, scenario.entries)), save=save)
    route = Route(scenario, "consolidated" if consolidated else "safetensors")
    tell(case_features(route))
    return route


def _floating(entry: Entry) -> Entry:
    """The entry with a floating-point dtype in the place of any other, of as many bytes where that is possible."""
    if isinstance(entry, Nested):
        return replace(entry, entries=tuple(map(_floating, entry.entries)))
    if not isinstance(entry, TensorEntry) or "float" in entry.dtype:
        return entry
    return of_dtype(entry, _FLOATING.get(entry.dtype, "float32"))
