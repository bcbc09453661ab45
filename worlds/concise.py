"""How scenarios print: as Python that evaluates back to them, without the fields that have their default value."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any, ClassVar, Protocol

__all__ = ["Concise", "pretty"]

_INDENT = "    "


class _Printer(Protocol):
    indentation: int

    def text(self, text: str) -> None: ...


class Concise:
    """A base of frozen dataclasses made with ``repr=False``."""

    _positional: ClassVar[int] = 1
    """How many fields, at most, print without their name."""

    def __repr__(self) -> str:
        return _one_line(self)

    def _repr_pretty_(self, printer: _Printer, cycle: bool) -> None:
        """As Hypothesis and IPython ask for it."""
        printer.text(pretty(self, indent=printer.indentation))


def pretty(value: object, *, width: int = 100, indent: int = 0) -> str:
    """``repr(value)`` on as many lines of at most ``width`` columns as it takes, all but the first one indented."""
    line = _one_line(value)
    if indent + len(line) <= width:
        return line
    if isinstance(value, Concise):
        opening, closing, parts = f"{type(value).__name__}(", ")", _arguments(value)
    elif isinstance(value, tuple) and all(isinstance(item, int) for item in value):
        return f"\n{' ' * indent} ".join(textwrap.wrap(line, width - indent - 1))
    elif isinstance(value, tuple):
        opening, closing, parts = "(", ")", [("", item) for item in value]
    else:
        return line
    inner = " " * indent + _INDENT
    lines = [f"{inner}{name}{pretty(part, width=width, indent=indent + len(_INDENT))},\n" for name, part in parts]
    return f"{opening}\n{''.join(lines)}{' ' * indent}{closing}"


def _one_line(value: object) -> str:
    if isinstance(value, Concise):
        arguments = ", ".join(f"{name}{_one_line(part)}" for name, part in _arguments(value))
        return f"{type(value).__name__}({arguments})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_one_line, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _arguments(value: Any) -> list[tuple[str, object]]:
    """``("name=", value)`` of each field to print; without the name while no field before it was left out."""
    arguments: list[tuple[str, object]] = []
    positional = value._positional > 0
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        # The type too, since True == 1 and 0.0 == -0.0: where in doubt, print.
        if field.default is not dataclasses.MISSING and repr(part) == repr(field.default):
            positional = False
            continue
        arguments.append(("" if positional else f"{field.name}=", part))
        positional = positional and len(arguments) < value._positional
    return arguments
