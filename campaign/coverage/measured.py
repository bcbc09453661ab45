"""What a measure of coverage says of DCP's modules: the lines and jumps of each function, and which were reached."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Function", "Jump", "Measured", "Module"]

Jump = tuple[int, int]
"""From a line to another one; a negative number is the end of what begins in that line."""


@dataclass(frozen=True)
class Function:
    """A function, ``Class.method`` or ``function.inner``; what is outside of all functions has no name.

    A jump is one of several ways on from a line: what coverage.py calls a branch.
    """

    name: str
    reached: frozenset[int]
    missed: frozenset[int]
    taken: frozenset[Jump] = frozenset()
    not_taken: frozenset[Jump] = frozenset()

    @property
    def is_entered(self) -> bool:
        """Whether any line of it was reached."""
        return bool(self.reached)


@dataclass(frozen=True)
class Module:
    """A module by its name within ``torch.distributed.checkpoint``, as ``_experimental.builder``."""

    name: str
    source: str = field(repr=False)
    functions: tuple[Function, ...]

    def lines(self) -> tuple[int, int]:
        """How many statements were reached, of how many."""
        reached = sum(len(function.reached) for function in self.functions)
        return reached, reached + sum(len(function.missed) for function in self.functions)

    def jumps(self) -> tuple[int, int]:
        """How many jumps were taken, of how many."""
        taken = sum(len(function.taken) for function in self.functions)
        return taken, taken + sum(len(function.not_taken) for function in self.functions)


@dataclass(frozen=True)
class Measured:
    """All modules of a package."""

    modules: tuple[Module, ...]

    @staticmethod
    def read(report: Path, package: Path) -> Measured:
        """What ``coverage json`` wrote about the package in that directory, whose files it names as seen from here."""
        files: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["files"]
        found = []
        for name, file in files.items():
            path = Path(name).resolve()
            if path.is_relative_to(package.resolve()):
                parts = path.relative_to(package.resolve()).with_suffix("").parts
                source = path.read_text(encoding="utf-8")
                found.append(Module(".".join(parts), source, tuple(_functions(file["functions"]))))
        return Measured(tuple(sorted(found, key=lambda module: module.name)))

    def module(self, name: str) -> Module | None:
        """The module of that name, if there is one."""
        return next((module for module in self.modules if module.name == name), None)


def _functions(said: dict[str, Any]) -> Iterable[Function]:
    for name, about in said.items():
        yield Function(
            name,
            frozenset(about["executed_lines"]),
            frozenset(about["missing_lines"]),
            _jumps(about["executed_branches"]),
            _jumps(about["missing_branches"]),
        )


def _jumps(pairs: Iterable[tuple[int, int]]) -> frozenset[Jump]:
    return frozenset((start, end) for start, end in pairs)
