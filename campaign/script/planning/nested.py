"""Scripts of what is wrong with how state dicts are taken apart: flattening, traversing, and looking up by path."""

from __future__ import annotations

from typing import Any

from properties.planning.breach import NotInverse, PlanBreach, PlanRaised
from worlds.plans import Leaf, NestedState

from ..known import CannotWrite
from ..text import Code, Items, headed, literal, quoted, render
from .section import Section, exit_if

__all__ = ["of_flatten", "of_flatten_sharded_tensors", "of_paths", "of_traverse"]

_DIFFERS = exit_if("found != state_dict", 'f"{state_dict} came back as {found}"')


def _value(value: Any, head: str = "") -> Code:
    match value:
        case Leaf(number):
            return f"{head}torch.tensor({number})"
        case dict():
            return Items(f"{head}{{", tuple(_value(inner, f"{_key(key)}: ") for key, inner in value.items()))
        case list():
            return Items(f"{head}[", tuple(map(_value, value)))
        case tuple():
            return Items(f"{head}(", tuple(map(_value, value)))
    return literal(value, head=head)


def _key(key: object) -> str:
    return quoted(key) if isinstance(key, str) else repr(key)


def _state(case: NestedState) -> str:
    return render(headed("state_dict = ", _value(case.state)))


def _shown(value: object) -> str:
    return render(_value(value))


def of_flatten(case: NestedState, breach: PlanBreach) -> Section:
    """``flatten_state_dict`` and its inverse: what comes back is something else."""
    _check(breach, NotInverse)
    lines = (
        _state(case),
        "flat, paths = flatten_state_dict(state_dict)",
        "found = unflatten_state_dict(flat, paths)",
        _DIFFERS,
    )
    expected = "unflatten_state_dict() undoes flatten_state_dict()"
    return Section(expected, f"{_shown(case.state)} came back as {_shown(breach.seen)}", lines)


def of_flatten_sharded_tensors(case: NestedState, breach: PlanBreach) -> Section:
    """``_flatten_sharded_tensors`` changes a state dict without any."""
    _check(breach, NotInverse)
    lines = (_state(case), "found = _flatten_sharded_tensors(state_dict)", _DIFFERS)
    expected = "_flatten_sharded_tensors() leaves a state dict as it is in which there are none"
    return Section(expected, f"{_shown(case.state)} came back as {_shown(breach.seen)}", lines)


def of_traverse(case: NestedState, breach: PlanBreach) -> Section:
    """``traverse_state_dict`` does not visit all leaves."""
    _check(breach, NotInverse)
    paths = [[path for path, _ in visited] for visited in (breach.expected, breach.seen)]  # type: ignore[attr-defined]
    lines = (
        _state(case),
        "found = []",
        "traverse_state_dict(state_dict, lambda path, value: found.append(path))",
        render(headed("expected = ", _value(paths[0]))),
        exit_if("found != expected", 'f"visited {found}, and there are {expected}"'),
    )
    expected = "traverse_state_dict() visits each tensor, in tuples too"
    return Section(expected, f"it visits {_shown(paths[1])}, and there are {_shown(paths[0])}", lines)


def of_paths(case: NestedState, breach: PlanBreach) -> Section:
    """``get_element`` raises."""
    _check(breach, PlanRaised)
    path = _shown(case.path)
    lines = (
        _state(case),
        f'found = get_element(state_dict, {path}, "default")',
        exit_if('found != "default"', 'f"found {found}"'),
    )
    expected = f"get_element() gives the default where nothing is, as at {path} in {_shown(case.state)}"
    return Section(expected, f"{type(breach.seen).__name__}: {breach.seen}", lines)


def _check(breach: PlanBreach, kind: type) -> None:
    if breach.kind is not kind:
        raise CannotWrite(f"there is no script for a violation of the kind {breach.kind.__name__} of a state dict yet")
