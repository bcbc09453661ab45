"""A case made smaller, part by part, as long as it shows the same: for cases that Hypothesis has not drawn."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal

from worlds.invalid import InvalidScenario

__all__ = ["minimized", "smaller"]

_ILLEGAL = (InvalidScenario, TypeError, ValueError, KeyError, IndexError)


def minimized(case: Any, shows: Callable[[Any], bool], *, seconds: float) -> Any:
    """The smallest case that was found within that time to be one for which ``shows`` holds, as for ``case``.

    Size is how long a case prints. Each step tries what is left out of one part, or one value made plainer; it ends
    where none of these shows it.
    """
    end = time.monotonic() + seconds
    tried = {repr(case)}
    again = True
    while again:
        again = False
        for candidate in itertools.chain(smaller(case), _renumbered(case)):
            text = repr(candidate)
            if text in tried or (len(text), text) >= (len(repr(case)), repr(case)):
                continue
            if time.monotonic() > end:
                return case
            tried.add(text)
            if shows(candidate):
                case, again = candidate, True
                break
    return case


def smaller(value: Any) -> Iterator[Any]:
    """What comes of one change to a part of the value, the great changes first."""
    if dataclasses.is_dataclass(value):
        yield from _fields(value)
    elif isinstance(value, tuple):
        yield from _items(value)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        yield from (number for number in (0, 1, value // 2, value - 1) if 0 <= number < value)
    elif isinstance(value, str | bytes):
        yield from (value[:length] for length in (0, 1, len(value) // 2, len(value) - 1) if 0 <= length < len(value))
        if isinstance(value, str) and value != "a":
            yield "a"


def _renumbered(case: Any) -> Iterator[Any]:
    """One number less wherever it stands: a rank that fails and is the coordinator is the same rank."""
    for number in sorted(set(_numbers(case)), reverse=True):
        for less in {0, number - 1}:
            with contextlib.suppress(*_ILLEGAL):
                yield _with(case, number, less)


def _numbers(value: Any) -> Iterator[int]:
    if dataclasses.is_dataclass(value):
        for name in _chosen(value):
            yield from _numbers(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif type(value) is int and value > 0:
        yield value


def _with(value: Any, number: int, less: int) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {name: _with(getattr(value, name), number, less) for name in _chosen(value)}
        return dataclasses.replace(value, **parts)
    if isinstance(value, tuple):
        return tuple(_with(item, number, less) for item in value)
    return less if type(value) is int and value == number else value


def _chosen(value: Any) -> list[str]:
    """The fields that do not have their default."""
    return [
        field.name
        for field in dataclasses.fields(value)
        if field.init
        and (field.default is dataclasses.MISSING or repr(getattr(value, field.name)) != repr(field.default))
    ]


def _fields(value: Any) -> Iterator[Any]:
    hints = typing.get_type_hints(type(value))
    defaults = {field.name: field.default for field in dataclasses.fields(value)}
    for name in _chosen(value):
        if defaults[name] is not dataclasses.MISSING:
            yield from _legal(value, name, defaults[name])
    for name in _chosen(value):
        if not _is_one_of_some(hints[name]):
            for part in smaller(getattr(value, name)):
                yield from _legal(value, name, part)


def _is_one_of_some(hint: Any) -> bool:
    """Whether the type lists its values, of which no shorter text is one."""
    return any(typing.get_origin(kind) is Literal for kind in (hint, *typing.get_args(hint)))


def _legal(value: Any, name: str, part: Any) -> Iterator[Any]:
    try:
        yield dataclasses.replace(value, **{name: part})
    except _ILLEGAL:
        return  # the part does not go with the others


def _items(value: tuple[Any, ...]) -> Iterator[Any]:
    if len(value) > 2:
        half = len(value) // 2
        yield value[:half]
        yield value[half:]
    for index in range(len(value)):
        yield value[:index] + value[index + 1 :]
    for index, item in enumerate(value):
        for part in smaller(item):
            yield (*value[:index], part, *value[index + 1 :])
