"""Judges how nested state dicts are taken apart and put together: flatten, traverse, and looking up by path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.distributed.checkpoint._nested_dict import flatten_state_dict, unflatten_state_dict
from torch.distributed.checkpoint._sharded_tensor_utils import _flatten_sharded_tensors
from torch.distributed.checkpoint._traverse import get_element, set_element, traverse_state_dict

from worlds.plans import Leaf, NestedState

from .breach import ChangedArgument, NotInverse, PlanBreach, PlanRaised, RefusedRight, result_of
from .nested_model import MISSING, leaves, look_up, same, text_of

__all__ = ["judge_flatten", "judge_flatten_sharded_tensors", "judge_paths", "judge_traverse"]


def _with_tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_tensors(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_tensors(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(_with_tensors(inner) for inner in value)
    return torch.tensor(value.value) if isinstance(value, Leaf) else value


def _without_tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_tensors(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_tensors(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(_without_tensors(inner) for inner in value)
    return Leaf(int(value)) if isinstance(value, torch.Tensor) else value


def judge_flatten(case: NestedState) -> Iterator[PlanBreach]:
    """``unflatten_state_dict`` undoes ``flatten_state_dict``, which refuses names that meet and no others."""
    given = _with_tensors(case.state)
    flat = result_of(lambda: flatten_state_dict(given))
    if not same(_without_tensors(given), case.state):
        yield PlanBreach(ChangedArgument, "flatten: changed the state dict", case.state, _without_tensors(given))
    if isinstance(flat, Exception):
        yield from _refused(case, flat)
        return
    flattened, mapping = flat
    wrong = {name: path for name, path in mapping.items() if text_of(path) != name}
    if wrong or list(flattened) != list(mapping):
        yield PlanBreach(NotInverse, "flatten: names are not their paths, joined by dots", list(flattened), mapping)
    back = result_of(lambda: unflatten_state_dict(flattened, mapping))
    if isinstance(back, Exception):
        yield PlanBreach(PlanRaised, f"unflatten: raised {type(back).__name__}: {back}", case.state, back)
        return
    seen = _without_tensors(back)
    if not same(seen, case.state):
        yield PlanBreach(NotInverse, "unflatten: the state dict is not what was flattened", case.state, seen, seen)


def _refused(case: NestedState, error: Exception) -> Iterator[PlanBreach]:
    names = [text_of(path) for path, _ in leaves(case.state)]
    of_tuples = [text_of(path) for path, _ in leaves(case.state, into=(list,))]  # that is for another law
    meet = len(set(names)) < len(names) or len(set(of_tuples)) < len(of_tuples)
    if not isinstance(error, ValueError) or not meet:
        yield PlanBreach(RefusedRight, f"flatten: raised {type(error).__name__}: {error}", "no two names meet", names)


def judge_traverse(case: NestedState) -> Iterator[PlanBreach]:
    """``traverse_state_dict`` visits each leaf once, with its path, in order."""
    visited: list[tuple[Any, Any]] = []
    result = result_of(lambda: traverse_state_dict(_with_tensors(case.state), lambda *leaf: visited.append(leaf)))
    seen = [(path, _without_tensors(value)) for path, value in visited]
    expected = list(leaves(case.state))
    if isinstance(result, Exception):
        yield PlanBreach(PlanRaised, f"traverse: raised {type(result).__name__}: {result}", expected, result)
    elif not same(seen, expected):
        yield PlanBreach(NotInverse, "traverse: does not visit what is documented", expected, seen, seen)


def judge_paths(case: NestedState) -> Iterator[PlanBreach]:
    """``get_element`` finds what a path leads to, or its default; ``set_element`` puts a value there, nowhere else."""
    found = result_of(lambda: get_element(case.state, case.path, MISSING))
    expected = look_up(case.state, case.path)
    if isinstance(found, Exception):
        shown = "the default" if expected is MISSING else expected
        yield PlanBreach(PlanRaised, f"get_element: raised {type(found).__name__}: {found}", shown, found)
        return
    if found is not expected:
        shown = ["the default" if value is MISSING else value for value in (expected, found)]
        yield PlanBreach(NotInverse, f"get_element: {case.path} leads elsewhere", *shown)
    fresh: dict[Any, Any] = {}
    path: Any = (text_of(case.path[:1]), *case.path[1:])
    error = result_of(lambda: set_element(fresh, path, "new"))
    if isinstance(error, Exception):
        yield PlanBreach(PlanRaised, f"set_element: raised {type(error).__name__}: {error}", "no error", error)
    elif not same(fresh, _only(path)):
        yield PlanBreach(NotInverse, f"set_element: {path} is put elsewhere", _only(path), fresh)
    yield from _set_again(case)


def _only(path: tuple[str | int, ...]) -> Any:
    """The containers of that path, and nothing beside it."""
    value: Any = "new"
    for step in reversed(path):
        value = [*[None] * step, value] if isinstance(step, int) else {step: value}
    return value


def _set_again(case: NestedState) -> Iterator[PlanBreach]:
    """Putting a value where there is one changes that one alone."""
    paths = [path for path, _ in leaves(case.state) if look_up(case.state, path) is not MISSING]
    if not paths:
        return
    path: Any = paths[len(case.path) % len(paths)]
    state = _with_tensors(case.state)
    error = result_of(lambda: set_element(state, path, "new"))
    expected = _replaced(case.state, path)
    if isinstance(error, Exception):
        yield PlanBreach(PlanRaised, f"set_element: raised {type(error).__name__}: {error}", expected, error)
    elif not same(_without_tensors(state), expected):
        yield PlanBreach(NotInverse, f"set_element: more changed than {path}", expected, _without_tensors(state))


def _replaced(state: Any, path: tuple[str | int, ...]) -> Any:
    if not path:
        return "new"
    if isinstance(state, dict):
        return {key: _replaced(value, path[1:]) if key == path[0] else value for key, value in state.items()}
    return [_replaced(value, path[1:]) if index == path[0] else value for index, value in enumerate(state)]


def judge_flatten_sharded_tensors(case: NestedState) -> Iterator[PlanBreach]:
    """``_flatten_sharded_tensors`` leaves a state dict as it is in which no sharded tensor is."""
    result = result_of(lambda: _flatten_sharded_tensors(_with_tensors(case.state)))
    if isinstance(result, Exception):
        headline = f"flatten sharded tensors: raised {type(result).__name__}: {result}"
        yield PlanBreach(PlanRaised, headline, case.state, result)
        return
    seen = _without_tensors(result)
    if not same(seen, case.state):
        headline = "flatten sharded tensors: a state dict without any is not what it was"
        yield PlanBreach(NotInverse, headline, case.state, seen, seen)
