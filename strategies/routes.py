"""Strategies for ways from a saved state to a loaded one other than DCP's own files."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from worlds.entries import Entry, Nested, TensorEntry
from worlds.fitting import tensors_alone
from worlds.layouts import Plain
from worlds.routes import Route, Way, from_torch_save
from worlds.scenario import Scenario

from ._reused import sampled_from
from ._telling import tell
from .case_features import case_features
from .whole import scenarios

__all__ = ["routes"]

_WAYS: tuple[Way, ...] = ("torch_save_to_dcp", "broadcast", "broadcast")


@st.composite
def routes(draw: DrawFn, *, max_world_size: int = 6, max_entries: int = 3) -> Route:
    """Any scenario, by any way. Shrinks towards a file of ``torch.save`` that is converted and loaded by one rank.

    What is broadcast is often all tensors, and often such as are not sharded, by a call for all ranks of the world: all
    else is refused, or fails in released torch, so that nothing behind it would be seen.
    """
    by = draw(sampled_from(_WAYS), label="by")
    scenario = draw(
        scenarios(failing="nothing", max_world_size=max_world_size, max_entries=max_entries), label="scenario"
    )
    only = draw(sampled_from(("plain tensors", "plain tensors", "tensors", "anything")), label="if broadcast")
    scenario = from_torch_save(scenario, by)
    if by == "broadcast" and only != "anything":
        scenario = replace(scenario, entries=tensors_alone(scenario.entries))
        if only == "plain tensors":
            scenario = _by_everyone(scenario)
    route = Route(scenario, by)
    tell(case_features(route))
    return route


def _by_everyone(scenario: Scenario) -> Scenario:
    entries = tuple(map(_plain_target, scenario.entries))
    everyone = replace(scenario.load, api="current", coordinator=0, members=(), distributed=True, no_dist=False)
    return replace(scenario, entries=entries, load=everyone)


def _plain_target(entry: Entry) -> Entry:
    if isinstance(entry, Nested):
        return replace(entry, entries=tuple(map(_plain_target, entry.entries)))
    if isinstance(entry, TensorEntry) and entry.loaded is not None and not isinstance(entry.loaded, Plain):
        return replace(entry, loaded=Plain(memory=entry.loaded.memory))
    return entry
