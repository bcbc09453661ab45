"""Scenarios and outcomes as JSON: one object with the format's version, and fields by name but for those with their
default.

The fields and their types are those of the dataclasses that a scenario consists of; nothing lists them a second time.
Where a field can be of several classes, ``"is"`` says which. An object's value may be what JSON has no word for, and is
then written as ``{"bytes": hex}``, ``{"tuple": [...]}``,
``{"float": repr}`` or, where it is no valid Unicode, ``{"text": [code points]}``.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, NoReturn, TypeVar

from .entries import ObjectEntry
from .invalid import InvalidScenario

__all__ = ["FORMAT", "from_json", "to_json"]

FORMAT = 1
"""The version of the format; a reader refuses a newer one, since it cannot know what it means."""


T = TypeVar("T")


def to_json(case: object) -> str:
    """A scenario, or another case that is a dataclass of such parts, as JSON text that :func:`from_json` reads."""
    return json.dumps({"format": FORMAT, **_encode_fields(case)}, indent=2)


def from_json(text: str, kind: type[T]) -> T:
    """The case of that class, such as ``Scenario``, that :func:`to_json` wrote.

    Raises :class:`InvalidScenario`, with one line that says what is wrong and where, for any other text.
    """
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except InvalidScenario:
        raise
    except RecursionError:
        _refuse("", "is nested too deeply")
    except ValueError as error:
        _refuse("", f"is no JSON: {error}")
    if not isinstance(data, dict):
        _refuse("", "is no JSON object")
    version = data.pop("format", None)
    if type(version) is not int or version < 1:
        _refuse("", 'has no "format", so it was not written by dcp-stress')
    if version > FORMAT:
        _refuse("", f"is of format {version}, and this dcp-stress reads {FORMAT}: upgrade it")
    decoded = _decode_fields(kind, data, "")
    assert isinstance(decoded, kind)
    return decoded


def _refuse(path: str, what: str) -> NoReturn:
    where = f" at {path}" if path else ""
    line = " ".join(f"the scenario{where} {what}".split())
    raise InvalidScenario(line if len(line) <= 300 else f"{line[:300]}…")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse("", "has a field twice")
    return found


def _no_constant(name: str) -> NoReturn:
    _refuse("", f"has the number {name}, which is no JSON")


def _encode_fields(value: Any) -> dict[str, Any]:
    encoded = {}
    hints = typing.get_type_hints(type(value))
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        if field.default is dataclasses.MISSING or repr(part) != repr(field.default):
            is_value = isinstance(value, ObjectEntry) and field.name == "value"
            encoded[field.name] = _encode_value(part) if is_value else _encode(part, hints[field.name])
    return encoded


def _encode(value: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(value):
        # Where a field can be of several classes, the object says of which it is.
        tag = {"is": type(value).__name__} if len(_classes(hint)) > 1 else {}
        return {**tag, **_encode_fields(value)}
    if isinstance(value, tuple):
        return [_encode(item, inner) for item, inner in zip(value, _item_hints(hint, len(value)), strict=True)]
    return _encode_value(value) if isinstance(value, str | bytes) else value


def _item_hints(hint: Any, length: int) -> list[Any]:
    """The types of the items of a tuple of that length: ``tuple[T, ...]`` or ``tuple[S, T]``, or a union with one."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    arguments = next(typing.get_args(kind) for kind in kinds if typing.get_origin(kind) is tuple)
    return [arguments[0]] * length if arguments[1:] == (Ellipsis,) else list(arguments)


def _classes(hint: Any) -> dict[str, type[Any]]:
    """The dataclasses that a field of that type can hold, by name."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return {kind.__name__: kind for kind in kinds if isinstance(kind, type) and dataclasses.is_dataclass(kind)}


def _encode_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return {"tuple": [_encode_value(item) for item in value]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        return {"text": [ord(letter) for letter in value]}
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 53:
        return {"int": hex(value)}
    return value


def _decode_fields(kind: type[Any], data: Any, path: str) -> Any:
    if not isinstance(data, dict):
        _refuse(path, f"must be an object, not {_named(data)}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in data:
        if name not in fields:
            _refuse(path, f"has an unknown field {name!r}")
    for name, field in fields.items():
        if name not in data and field.default is dataclasses.MISSING:
            _refuse(path, f"lacks the field {name!r}")
    values = {}
    for name, part in data.items():
        inner = f"{path}.{name}" if path else name
        is_value = kind is ObjectEntry and name == "value"
        values[name] = _decode_value(part, inner) if is_value else _decode(hints[name], part, inner)
    try:
        return kind(**values)
    except InvalidScenario as error:
        _refuse(path, f"is not legal: {error}")


def _decode(hint: Any, data: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is Literal:
        if not isinstance(data, str) or data not in typing.get_args(hint):
            _refuse(path, f"must be one of {', '.join(typing.get_args(hint))}, not {_named(data)}")
        return data
    if origin is tuple:
        if not isinstance(data, list):
            _refuse(path, f"must be a list, not {_named(data)}")
        hints = _item_hints(hint, len(data))
        if len(hints) != len(data):
            _refuse(path, f"must be a list of {len(hints)}, not {_named(data)}")
        return tuple(
            _decode(inner, item, f"{path}[{index}]")
            for index, (inner, item) in enumerate(zip(hints, data, strict=True))
        )
    if isinstance(hint, types.UnionType):
        return _decode_union(hint, data, path)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _decode_fields(hint, data, path)
    if hint in (str, bytes) and isinstance(data, dict):
        data = _decode_value(data, path)
    if type(data) is not hint:  # and not isinstance(), for which True is an int
        _refuse(path, f"must be of type {hint.__name__}, not {_named(data)}")
    return data


def _decode_union(hint: Any, data: Any, path: str) -> Any:
    kinds = typing.get_args(hint)
    if data is None and type(None) in kinds:
        return None
    sequence = next((kind for kind in kinds if typing.get_origin(kind) is tuple), None)
    if sequence is not None and isinstance(data, list):
        return _decode(sequence, data, path)
    classes = _classes(hint)
    if len(classes) == 1:
        return _decode_fields(next(iter(classes.values())), data, path)
    if classes:
        return _decode_tagged(classes, data, path)
    if isinstance(data, dict) and str in kinds:
        data = _decode_value(data, path)
    if type(data) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds)
        _refuse(path, f"must be of type {names}, not {_named(data)}")
    return data


def _decode_tagged(classes: dict[str, type[Any]], data: Any, path: str) -> Any:
    if not isinstance(data, dict) or not isinstance(data.get("is"), str) or data["is"] not in classes:
        _refuse(path, f'must be an object whose "is" is one of {", ".join(classes)}, not {_named(data)}')
    return _decode_fields(classes[data["is"]], {name: part for name, part in data.items() if name != "is"}, path)


def _named(data: Any) -> str:
    return json.dumps(data)[:60]


def _decode_tuple(data: Any, path: str) -> Any:
    if not isinstance(data, list):
        raise TypeError
    return tuple(_decode_value(item, f"{path}[{index}]") for index, item in enumerate(data))


_TAGS: dict[str, Callable[[Any, str], Any]] = {
    "tuple": _decode_tuple,
    "bytes": lambda data, _: bytes.fromhex(data),
    "float": lambda data, _: float(data),
    "int": lambda data, _: int(data, 16),
    "text": lambda data, _: "".join(map(chr, data)),
}


def _decode_value(data: Any, path: str) -> Any:
    if not isinstance(data, dict | list | float):
        return data
    if isinstance(data, dict) and len(data) == 1:
        ((tag, inner),) = data.items()
        if tag in _TAGS:
            try:
                return _TAGS[tag](inner, path)
            except InvalidScenario:
                raise
            except (TypeError, ValueError, OverflowError):
                _refuse(path, f"is no {tag}: {_named(inner)}")
    _refuse(path, f"is no value: {_named(data)}")
