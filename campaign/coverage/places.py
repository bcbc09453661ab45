"""Places in DCP's source, found by what stands there, so that they are the same in a torch whose lines have moved."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .measured import Function, Jump, Module

__all__ = ["Missed", "NotThere", "Place", "missed_assertions", "missed_at"]


_Block = Sequence[ast.stmt | ast.ExceptHandler]


class NotThere(LookupError):
    """The installed torch has no such place; the message says what it lacks."""


@dataclass(frozen=True)
class Place:
    """A statement in a function, by the line that it begins with, and without ``text`` the whole function.

    Where several begin alike, it is all of them. Without ``function`` either it is the whole module; ``(outside)`` is
    what is outside of all functions.
    """

    module: str
    function: str = ""
    text: str = ""

    def __str__(self) -> str:
        return ":".join(filter(None, (self.module, self.function))) + (f": {self.text}" if self.text else "")


@dataclass(frozen=True)
class Missed:
    """Lines and jumps of a function that were not reached."""

    lines: frozenset[int] = frozenset()
    jumps: frozenset[Jump] = frozenset()

    def __or__(self, other: Missed) -> Missed:
        return Missed(self.lines | other.lines, self.jumps | other.jumps)

    def __bool__(self) -> bool:
        return bool(self.lines or self.jumps)


def missed_at(place: Place, module: Module) -> dict[str, Missed]:
    """What was not reached at that place, by function; raises :class:`NotThere`.

    Of a statement that was never reached, that is all that would be reached by way of it: what follows it in its block
    as well. Of one that was reached but never left for somewhere, it is that way and what it leads to.
    """
    if not place.function:
        return {function.name: Missed(function.missed, function.not_taken) for function in module.functions}
    name = "" if place.function == "(outside)" else place.function
    function = next((each for each in module.functions if each.name == name), None)
    if function is None:
        raise NotThere(f"{module.name} has no function {place.function}")
    if not place.text:
        return {name: Missed() if function.is_entered else Missed(function.missed, function.not_taken)}
    found = [block for block in _blocks(module.source, function) if _begins(block[0], module.source, place.text)]
    if not found:
        raise NotThere(f"{place.module}:{place.function} has no line {place.text!r}")
    missed = Missed()
    for block in found:
        missed |= _missed_by(block, function, dict(_starts(module.source)))
    return {name: missed}


def missed_assertions(module: Module) -> dict[str, Missed]:
    """The assertions in functions that were entered which never failed, by function: torch raises them by hand."""
    found = {}
    raised = [node for node in ast.walk(ast.parse(module.source)) if isinstance(node, ast.Raise) and _asserts(node)]
    for function in module.functions:
        if function.is_entered:
            lines = frozenset(node.lineno for node in raised if node.lineno in function.missed)
            jumps = frozenset(jump for jump in function.not_taken if jump[1] in lines)
            found[function.name] = Missed(lines, jumps)
    return found


def _asserts(node: ast.Raise) -> bool:
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return isinstance(raised, ast.Name) and raised.id == AssertionError.__name__


def _missed_by(block: _Block, function: Function, starts: dict[int, _Block]) -> Missed:
    line = block[0].lineno
    if line in function.missed:
        return _within(_extent(block), function)
    ways = frozenset(jump for jump in function.not_taken if jump[0] == line)
    missed = Missed(jumps=ways)
    for _, target in ways:
        if target in function.missed and target in starts:
            missed |= _within(_extent(starts[target]), function)
    return missed


def _within(lines: range, function: Function) -> Missed:
    jumps = frozenset(jump for jump in function.not_taken if jump[0] in lines or jump[1] in lines)
    return Missed(frozenset(line for line in function.missed if line in lines), jumps)


def _extent(block: _Block) -> range:
    return range(block[0].lineno, (block[-1].end_lineno or block[-1].lineno) + 1)


def _begins(statement: ast.stmt | ast.ExceptHandler, source: str, text: str) -> bool:
    return source.splitlines()[statement.lineno - 1].strip() == text


def _blocks(source: str, function: Function) -> Iterator[_Block]:
    """For each statement of the function, it and those that follow it in its block."""
    lines = function.reached | function.missed
    return (block for line, block in _starts(source) if line in lines)


def _starts(source: str) -> Iterator[tuple[int, _Block]]:
    for node in ast.walk(ast.parse(source)):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):  # the body of a lambda is none
                yield from ((statement.lineno, block[number:]) for number, statement in enumerate(block))
        if isinstance(node, ast.Try):
            yield from ((handler.lineno, [handler]) for handler in node.handlers)
