"""Strategies for checkpoints that are read without a template: whole, as a file, or by keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.rebuilding import By, Rebuilding
from worlds.scenario import Scenario

from ._reused import sampled_from
from ._telling import tell
from ._weighted import weighted
from .case_features import case_features
from .whole import scenarios

__all__ = ["rebuildings"]

_WAYS: tuple[By, ...] = ("dcp_to_torch_save", "there_and_back", "keys", "planner")
# What is asked for: a place in the list of all that could be, or what nothing has, or only by chance.
_WANTED: SearchStrategy[int | str] = weighted((3, st.integers(0, 15)), (1, st.sampled_from(("a", "zz", ""))))
_WISHES: SearchStrategy[list[int | str] | None] = weighted(
    (1, st.none()), (2, st.lists(_WANTED, min_size=1, max_size=3))
)


@st.composite
def rebuildings(draw: DrawFn, *, max_world_size: int = 8, max_entries: int = 3) -> Rebuilding:
    """Saves of any scenario, and a way to read the checkpoint without a template.

    Where it is read by keys, these are names of what was saved, and beginnings of such names; also keys that nothing
    has. Shrinks towards ``dcp_to_torch_save`` of a save by one rank. What is nested counts here, and so is often drawn:
    the checkpoint must say how, and a key must find what is below it.
    """
    # First what is the point, since what is drawn behind something with many choices falls back to the simplest.
    by = draw(sampled_from(_WAYS), label="by")
    wanted = draw(_WISHES, label="keys, if by keys")
    scenario = draw(
        scenarios(failing="nothing", max_world_size=max_world_size, max_entries=max_entries, deep=True),
        label="scenario",
    )
    if not scenario.writer.known_to_torch:
        scenario = replace(scenario, writer=replace(scenario.writer, extensions=()))
    keys = None if wanted is None or by not in ("keys", "planner") else _keys(scenario, wanted)
    rebuilding = Rebuilding(scenario, by, keys)
    tell(case_features(rebuilding))
    return rebuilding


def _keys(scenario: Scenario, wanted: Sequence[int | str]) -> tuple[str, ...]:
    """The names at those places, more often such as have something below them; what is no place as it is."""
    paths = [unit.path for unit in scenario.units("save")]
    names = {".".join(map(str, path)) for path in paths}
    above = {".".join(map(str, path[:length])) for path in paths for length in range(1, len(path))}
    known = 2 * sorted(above) + sorted(names | above) or ["a"]
    chosen = (known[each % len(known)] if isinstance(each, int) else each for each in wanted)
    return tuple(dict.fromkeys(chosen))
