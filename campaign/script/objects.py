"""The objects of a state dict in a script."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Sequence

from properties.violations import WrongObject
from worlds import objects
from worlds.entries import Form, ObjectEntry
from worlds.objects import FIXED, MAKERS, make_object

from .plan import Plan
from .text import Code, Items, literal

__all__ = ["change_lines", "holds_files", "object_code", "object_helpers", "sources", "tells_all"]

_NO_REPR: tuple[Form, ...] = ("slots", "slots and dict", "twice", "cycle", "tensor", "views")
"""The forms of objects of which ``repr`` does not say all that matters."""


def object_code(entry: ObjectEntry, *, head: str) -> Code:
    """The expression that makes the object, behind ``head``."""
    if entry.form == "value":
        return literal(entry.value, head=head)
    made = "io.BytesIO" if entry.form == "BytesIO" else MAKERS[entry.form].__name__
    return Items(f"{head}{made}(", (literal(entry.value),))


def object_helpers(plan: Plan) -> list[str]:
    """The definitions that the objects need."""
    entries = [leaf.entry for name in plan.names for leaf in plan.leaves(name)]
    forms = {entry.form for entry in entries if isinstance(entry, ObjectEntry)} - {"value", "BytesIO"}
    names = [MAKERS[form].__name__ for form in forms]
    names += ["shown"] if tells_all(plan) else []
    names += ["change"] if _changes(plan) else []
    return sources(names, [make_object(entry) for entry in _objects(plan)])


def tells_all(plan: Plan) -> bool:
    """Whether one of them is an object whose text is told by :func:`worlds.objects.shown`."""
    return plan.compares_content and any(entry.form in _NO_REPR for entry in _objects(plan))


def holds_files(plan: Plan) -> bool:
    """Whether one of them is a file in memory, whose ``repr`` does not say what it holds."""
    return any(entry.form == "BytesIO" for entry in _objects(plan))


def change_lines(plan: Plan, entry: ObjectEntry, place: str, *, replaceable: bool) -> list[str]:
    """Statements that change the object at ``place``, as the caller of an asynchronous save does that goes on."""
    if plan.kind is not WrongObject:
        return []
    replaced = [f'{place} = "changed"'] if replaceable else []
    return [f"change({place})", *replaced] if entry.form not in FIXED else replaced


def sources(names: Iterable[str], made: Iterable[object]) -> list[str]:
    """The definitions of those names in :mod:`worlds.objects`, and of what they name, in their order there.

    Without what they do with other objects than those that are ``made``, and what these hold.
    """
    parts = [part for each in made for part in _parts(each, [])]
    found: dict[str, str] = {}
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found[name] = _for_these(_source(name), parts) if name in ("shown", "change") else _source(name)
            left += _named(found[name])
    whole = inspect.getsource(objects)
    return [found[name] for name in sorted(found, key=lambda name: whole.index(_source(name)))]


def _changes(plan: Plan) -> bool:
    changed = any(entry.form not in FIXED for entry in _objects(plan))
    return plan.overwrites and plan.kind is WrongObject and changed


def _objects(plan: Plan) -> list[ObjectEntry]:
    return [leaf.entry for leaf in plan.leaves("save") if isinstance(leaf.entry, ObjectEntry)]


def _source(name: str) -> str:
    defined = getattr(objects, name)
    return inspect.getsource(defined if callable(defined) else type(defined)).rstrip()


def _parts(value: object, seen: list[object]) -> Iterator[object]:
    """The object and what is in it, each once."""
    if any(value is each for each in seen):
        return
    seen.append(value)
    yield value
    inside = value if isinstance(value, tuple) else (getattr(value, "__self__", None), getattr(value, "value", None))
    for each in inside:
        yield from _parts(each, seen)


def _for_these(source: str, parts: Sequence[object]) -> str:
    """The function, without the conditions in it that hold for none of the objects."""
    lines, (function,) = source.splitlines(), ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    for node in reversed(function.body):
        if isinstance(node, ast.If) and not any(_holds(node.test, part) for part in parts):
            del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines)


def _holds(test: ast.expr, value: object) -> bool:
    return bool(eval(ast.unparse(test), vars(objects), {"value": value}))


def _named(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and inspect.getmodule(getattr(objects, node.id, None)) is objects:
            yield node.id
