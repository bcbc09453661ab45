"""What comes of one change to a case that leaves something out of it, or makes a value in it plainer."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any, Literal

from worlds.invalid import InvalidScenario

from .plain_layouts import plainer_layouts, plainer_parts

__all__ = ["ILLEGAL", "chosen", "is_one_of_some", "replaced", "smaller"]

ILLEGAL = (InvalidScenario, TypeError, ValueError, KeyError, IndexError)
"""What a class raises of values that do not go together."""


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
    elif isinstance(value, bytes):
        yield from (value[:length] for length in (0, 1, len(value) // 2, len(value) - 1) if 0 <= length < len(value))
    elif isinstance(value, str):
        # No shorter than a letter: a name that is empty is a corner, and nothing plain.
        yield from (value[:length] for length in (1, len(value) // 2, len(value) - 1) if 0 < length < len(value))
        if value not in ("", "a"):
            yield "a"


def chosen(value: Any) -> list[str]:
    """The fields that do not have their default."""
    return [
        field.name
        for field in dataclasses.fields(value)
        if field.init
        and (field.default is dataclasses.MISSING or repr(getattr(value, field.name)) != repr(field.default))
    ]


def is_one_of_some(hint: Any) -> bool:
    """Whether the type lists its values, of which no shorter text is one."""
    return any(typing.get_origin(kind) is Literal for kind in (hint, *typing.get_args(hint)))


def replaced(value: Any, /, **parts: Any) -> Iterator[Any]:
    """The value with these parts in it; nothing where they do not go with the others."""
    try:
        yield dataclasses.replace(value, **parts)
    except ILLEGAL:
        return


def _fields(value: Any) -> Iterator[Any]:
    hints = typing.get_type_hints(type(value))
    defaults = {field.name: field.default for field in dataclasses.fields(value)}
    for name in chosen(value):
        if defaults[name] is not dataclasses.MISSING:
            yield from replaced(value, **{name: defaults[name]})
    for other in plainer_parts(value):
        yield from replaced(value, **other)
    for name in chosen(value):
        for part in plainer_layouts(getattr(value, name)):
            yield from replaced(value, **{name: part})
        if not is_one_of_some(hints[name]):
            for part in smaller(getattr(value, name)):
                yield from replaced(value, **{name: part})


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
