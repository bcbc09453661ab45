"""Strategies for nested state dicts as inputs of planning functions."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from worlds.plans import Leaf, NestedState

from ._several import several

__all__ = ["nested_states"]

# One letter first of all, so that names meet; then what is awkward in a path, and what is no string.
_KEYS = st.sampled_from(("a", "b", "a.b", "", "0", ".", "a.0")) | st.sampled_from(("a", "b", "c")) | st.integers(0, 2)
_LEAVES = st.builds(Leaf, st.integers(0, 3)) | st.none() | st.integers(0, 3) | st.just("text")


def _containers(inner: SearchStrategy[Any]) -> SearchStrategy[Any]:
    lists = st.lists(inner, max_size=3)
    return st.dictionaries(_KEYS, inner, max_size=3) | lists | lists.map(tuple)


def nested_states() -> SearchStrategy[NestedState]:
    """State dicts of dicts, lists and tuples to any depth, with tensors and objects, and a path to look up.

    Keys with dots, digits and integers, empty keys, and empty containers: what becomes of them where keys are joined by
    dots. Of those with a dict in them, a part has a key that is two of its keys joined. Shrinks towards an empty state
    dict.
    """
    values = st.recursive(_LEAVES, _containers, max_leaves=6)
    entries = several(st.tuples(_KEYS, values), min_size=0, max_size=3, unique_by=itemgetter(0)).map(dict)
    states = st.builds(_meet, entries, st.sampled_from((None, None, "last", "first")))
    return st.builds(lambda state, steps: NestedState(state, _path(state, steps)), states, st.binary(max_size=4))


def _meet(state: dict[Any, Any], where: str | None) -> dict[Any, Any]:
    """With one key more, which is that of what is in a dict, once its keys are joined."""
    for key, value in state.items():
        if where is not None and isinstance(value, dict) and value:
            joined = {f"{key}.{next(iter(value))}": None}
            return {**state, **joined} if where == "last" else {**joined, **state}
    return state


def _path(state: Any, steps: bytes) -> tuple[str | int, ...]:
    """A path that leads somewhere, or just past it: a key or place of what is there, or one that is not there."""
    path: list[str | int] = []
    for step in steps or b"\0":
        if isinstance(state, dict):
            keys = [key for key in state if isinstance(key, str)]
            path.append([*keys, "c"][step % (len(keys) + 1)])
            state = state.get(path[-1])
        elif isinstance(state, list):
            place = step % (len(state) + 2)
            path.append(place)
            state = state[place] if place < len(state) else None
        else:
            path.append("a" if step % 2 else 0)
    return tuple(path)
