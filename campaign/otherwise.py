"""What comes of one value in a case otherwise, be it larger."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any, Literal

from .plain_layouts import cut_in_two, other_layouts
from .smaller import chosen, replaced, smaller

__all__ = ["otherwise"]


def otherwise(case: Any) -> Iterator[Any]:
    """The case with one number one more, one switch turned, one choice or layout another, or one part of it less."""
    yield from _otherwise(case)
    yield from smaller(case)


def _otherwise(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            for part in _otherwise(item):
                yield (*value[:index], part, *value[index + 1 :])
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for parts in cut_in_two(value):
            yield from replaced(value, **parts)
        hints, unusual = typing.get_type_hints(type(value)), set(chosen(value))
        for field in dataclasses.fields(value):
            part = getattr(value, field.name)
            if field.name in unusual or (field.init and not _is_a_choice(part)):
                for other in (*_choices(hints[field.name]), *other_layouts(part), *_otherwise(part)):
                    yield from replaced(value, **{field.name: other})


def _is_a_choice(part: Any) -> bool:
    """Whether it is a switch or the like, of which each case has many: those that are as usual stay so."""
    return isinstance(part, bool | str) or part is None


def _choices(hint: Any) -> tuple[Any, ...]:
    """The values that a type lists."""
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
