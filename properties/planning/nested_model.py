"""Nested state dicts, by recursion as DCP documents it: which leaves there are, where, and what is the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from worlds.plans import Leaf

__all__ = ["MISSING", "assembled", "leaves", "look_up", "mappings", "same", "text_of"]

Path = tuple[str | int, ...]
MISSING: Any = object()


def leaves(value: Any, path: Path = (), into: tuple[type, ...] = (list, tuple)) -> Iterator[tuple[Path, Any]]:
    """What ``traverse_state_dict`` documents that it visits, with its path; keys of mappings as text.

    Mappings are gone into, lists and tuples, or what is in ``into`` of them, where they contain tensors or mappings, at
    any depth.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, (*path, str(key)), into)
    elif _is_sequence(value, into) and _contains(value, into):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index), into)
    else:
        yield path, value


def _is_sequence(value: Any, into: tuple[type, ...]) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, into)


def _contains(values: Sequence[Any], into: tuple[type, ...]) -> bool:
    """Whether there are tensors or mappings in a list or tuple, or in those within it."""
    return any(
        isinstance(value, Leaf | Mapping) or (_is_sequence(value, into) and _contains(value, into)) for value in values
    )


def assembled(found: Sequence[tuple[Path, Any]]) -> Any:
    """The containers that the paths of some leaves speak of: text is a key of a dict, a number a place in a list.

    Raises ``ValueError`` where paths meet: two are the same, one goes on where another ends, or one has a key and
    another a place in the same container. A place that no path has is ``None``.
    """
    if any(not path for path, _ in found):
        if len(found) > 1:
            raise ValueError("paths meet")
        return found[0][1]
    parts: dict[str | int, list[tuple[Path, Any]]] = {}
    for path, value in found:
        parts.setdefault(path[0], []).append((path[1:], value))
    if not any(isinstance(step, int) for step in parts):
        return {step: assembled(inner) for step, inner in parts.items()}
    places = [step for step in parts if isinstance(step, int)]
    if len(places) < len(parts):
        raise ValueError("paths meet")
    return [assembled(parts[place]) if place in parts else None for place in range(max(places) + 1)]


def mappings(value: Any) -> Iterator[Mapping[Any, Any]]:
    """All mappings in a value, itself included."""
    if isinstance(value, Mapping):
        yield value
    if isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from mappings(inner)


def same(one: Any, other: Any) -> bool:
    """Whether two are equal with the types of all containers, keys and leaves, and with the keys in one order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def look_up(state: Any, path: Sequence[str | int]) -> Any:
    """What the path leads to, by keys of mappings and places in lists; ``MISSING`` where it leads nowhere."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(state, list) or not 0 <= step < len(state):
                return MISSING
        elif not isinstance(state, Mapping) or step not in state:
            return MISSING
        state = state[step]
    return state


def text_of(path: Sequence[str | int]) -> str:
    """The name that a path is flattened to."""
    return ".".join(map(str, path))
