"""What a state dict holds, and what DCP makes of it: every leaf by its path, and the units that it saves and loads.

A model of what ``torch.distributed.checkpoint`` says of flattening: mappings are gone into, and lists where a tensor or
a mapping is in them; whatever else stands there is one object. A unit's name is its path, joined by dots.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from .entries import Entry, Nested, ObjectEntry, Path, TensorEntry

__all__ = ["Leaf", "Unit", "children", "is_there", "leaves", "path_text", "ties", "units"]

Name = Literal["save", "load"]


@dataclass(frozen=True)
class Leaf:
    """A tensor or an object, and where it is in the state dict."""

    path: Path
    entry: TensorEntry | ObjectEntry

    @property
    def fqn(self) -> str:
        """The path, joined by dots."""
        return ".".join(map(str, self.path))


@dataclass(frozen=True)
class Unit:
    """What DCP saves or loads under one name: a tensor, or an object, which may be a whole container."""

    fqn: str
    path: Path
    entry: Entry
    leaves: tuple[Leaf, ...]

    @property
    def container(self) -> str | None:
        """What kind of container is one object here, if it is one."""
        return self.entry.container if isinstance(self.entry, Nested) else None

    @property
    def tensor(self) -> TensorEntry | None:
        """The tensor, if it is one."""
        return self.entry if isinstance(self.entry, TensorEntry) else None

    def is_on(self, operation: Name, rank: int) -> bool:
        """Whether the rank's state dict has it."""
        if isinstance(self.entry, Nested):
            return True  # what is in a container that is one object is on every rank
        layout = self.entry.layout(operation)
        return layout is not None and layout.is_on(rank)


def is_there(entry: Entry, operation: Name, rank: int | None = None) -> bool:
    """Whether the entry is in the state dict of that operation, on that rank if one is given."""
    if isinstance(entry, Nested):
        return not entry.entries or any(is_there(inner, operation) for inner in entry.entries)
    layout = entry.layout(operation)
    return layout is not None and (rank is None or layout.is_on(rank))


def children(
    entries: Sequence[Entry], operation: Name, *, path: Path = (), sequence: bool = False, rank: int | None = None
) -> Iterator[tuple[Path, Entry]]:
    """The entries that are there, each with its path; in a sequence the last step is its place."""
    there = (entry for entry in entries if is_there(entry, operation, rank))
    for index, entry in enumerate(there):
        yield (*path, index if sequence else entry.key), entry


@lru_cache(maxsize=256)
def leaves(entries: tuple[Entry, ...], operation: Name) -> tuple[Leaf, ...]:
    """Every tensor and object that is there, on whatever rank, in the order of the state dict."""
    return tuple(_leaves(children(entries, operation), operation))


def _leaves(placed: Iterator[tuple[Path, Entry]], operation: Name) -> Iterator[Leaf]:
    for path, entry in placed:
        if isinstance(entry, Nested):
            yield from _leaves(_inside(entry, operation, path), operation)
        else:
            yield Leaf(path, entry)


def ties(saved: Iterable[Leaf]) -> Iterator[tuple[Leaf, Leaf]]:
    """Each tensor at the top that is saved from the memory of another, and that other."""
    top = [(leaf, leaf.entry) for leaf in saved if len(leaf.path) == 1 and isinstance(leaf.entry, TensorEntry)]
    for leaf, entry in top:
        for other, tensor in top:
            if other is not leaf and entry.is_in_memory_of(tensor, other.fqn):
                yield leaf, other


def _inside(nested: Nested, operation: Name, path: Path) -> Iterator[tuple[Path, Entry]]:
    return children(nested.entries, operation, path=path, sequence=nested.is_sequence)


@lru_cache(maxsize=256)
def units(
    entries: tuple[Entry, ...], operation: Name, *, flatten: bool = True, flatten_sharded: bool = True
) -> tuple[Unit, ...]:
    """What is saved or loaded, each under its own name, in the order of the state dict.

    Without ``flatten``, whatever stands at the top of the state dict; an empty dict is nothing there either, where
    ``flatten_sharded`` makes DCP look for sharded tensors in all of them.
    """
    found = _units(children(entries, operation), operation, flatten)
    if flatten or not flatten_sharded:
        return tuple(found)
    return tuple(unit for unit in found if not _vanishes(unit.entry, operation))


def _vanishes(entry: Entry, operation: Name) -> bool:
    """Whether there is nothing in a dict, nor in the dicts in it."""
    if not isinstance(entry, Nested) or not _is_gone_into(entry, operation):
        return False
    return all(_vanishes(inner, operation) for _, inner in _inside(entry, operation, ()))


def _units(placed: Iterator[tuple[Path, Entry]], operation: Name, flatten: bool) -> Iterator[Unit]:
    for path, entry in placed:
        fqn = ".".join(map(str, path))
        if not isinstance(entry, Nested):
            yield Unit(fqn, path, entry, (Leaf(path, entry),))
        elif flatten and _is_gone_into(entry, operation):
            yield from _units(_inside(entry, operation, path), operation, flatten)
        else:
            inner = tuple(_leaves(_inside(entry, operation, path), operation))
            yield Unit(fqn, path, entry, inner)


def _is_gone_into(nested: Nested, operation: Name) -> bool:
    if nested.container == "tuple":
        return False
    if nested.container != "list":
        return True
    return any(
        _is_gone_into(entry, operation) if isinstance(entry, Nested) else isinstance(entry, TensorEntry)
        for _, entry in _inside(nested, operation, ())
    )


def path_text(path: Path) -> str:
    """A path as text: ``'a'``, and for what is inside ``'a'[0]['b']``."""
    return repr(path[0]) + "".join(f"[{key!r}]" for key in path[1:])
