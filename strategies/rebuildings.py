"""Strategies for checkpoints that are read without a template: whole, as a file, or by keys."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from worlds.rebuilding import By, Rebuilding

from ._telling import tell
from .case_features import case_features
from .whole import scenarios

__all__ = ["rebuildings"]

_WAYS: tuple[By, ...] = ("dcp_to_torch_save", "there_and_back", "keys", "planner")


@st.composite
def rebuildings(draw: DrawFn, *, max_world_size: int = 8, max_entries: int = 3) -> Rebuilding:
    """Saves of any scenario, and a way to read the checkpoint without a template.

    Where it is read by keys, these are names of what was saved, and beginnings of such names; also keys that nothing
    has. Shrinks towards ``dcp_to_torch_save`` of a save by one rank. What is nested counts here: the checkpoint must
    say how, and a key must find what is below it.
    """
    scenario = draw(
        scenarios(failing="nothing", max_world_size=max_world_size, max_entries=max_entries), label="scenario"
    )
    by = draw(st.sampled_from(_WAYS), label="by")
    if by not in ("keys", "planner"):
        return _told(Rebuilding(scenario, by))
    paths = [unit.path[:length] for unit in scenario.units("save") for length in range(1, len(unit.path) + 1)]
    names = sorted({".".join(map(str, path)) for path in paths})
    known = st.sampled_from(names) if names else st.just("a")
    chosen = st.lists(known | st.sampled_from(("a", "zz", "")), min_size=1, max_size=3, unique=True).map(tuple)
    keys = draw(st.none() | chosen, label="keys")
    return _told(Rebuilding(scenario, by, keys))


def _told(rebuilding: Rebuilding) -> Rebuilding:
    tell(case_features(rebuilding))
    return rebuilding
