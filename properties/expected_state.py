"""What a rank's state dict must hold after an operation: every leaf and container, by its path, in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from worlds.dtypes import DTYPES
from worlds.entries import Entry, Key, Nested, ObjectEntry, Path, TensorEntry
from worlds.layouts import Layout, Plain
from worlds.objects import make_object, shown
from worlds.outcome import ContainerState, ObjectState
from worlds.parts import Box
from worlds.scenario import Scenario
from worlds.state import POISON_OBJECT
from worlds.state_tree import Unit, children
from worlds.values import expected_bytes, poison_bytes

from .reach import saved_units

__all__ = [
    "POISON_INSTANCE",
    "ExpectedState",
    "ExpectedTensor",
    "Find",
    "expected_state",
    "object_text",
    "object_type",
]

Name = Literal["save", "load"]
Find = Callable[[str, TensorEntry, Box], bytes]
Tell = Callable[[ObjectEntry], str]
POISON_INSTANCE = f"Instance(value={POISON_OBJECT!r})"
"""The text of what stands in a load target where an instance of a class is to be loaded."""
_TYPES = {"dict": "dict", "ordered": "OrderedDict", "list": "list", "stateful": "Stateful"}


@dataclass(frozen=True)
class ExpectedTensor:
    """A tensor: how it is held, and whose bits it must have; its own poison where ``content`` is ``None``.

    ``find`` says which bits those are.
    """

    path: Path
    entry: TensorEntry
    layout: Layout
    content: TensorEntry | None
    in_place: bool = True
    find: Find = expected_bytes

    @property
    def is_meta(self) -> bool:
        """Whether it is on the meta device: as a target there in whose place no tensor was to come."""
        return self.layout.memory == "meta" and self.content is None

    @property
    def fqn(self) -> str:
        """The path, joined by dots."""
        return ".".join(map(str, self.path))

    def bytes_of(self, box: Box) -> bytes:
        """What it must hold there, in row-major order."""
        if self.content is None:
            return poison_bytes(self.fqn, self.entry, box)
        return self.find(self.fqn, self.content, box)


ExpectedState = ExpectedTensor | ObjectState | ContainerState


def expected_state(
    scenario: Scenario, name: Name, rank: int, *, loaded: bool = True, find: Find = expected_bytes
) -> list[ExpectedState]:
    """The state dict of ``rank`` after the operation; without ``loaded``, as it was handed in.

    ``find`` says what a tensor of that name holds that was saved, in a box of it.
    """
    top = list(children(scenario.entries, name, rank=rank))
    if scenario.operation(name).rotated and top:
        start = rank % len(top)
        top = top[start:] + top[:start]
    walk = _Walk(scenario, name, rank, loaded=loaded or name == "save", find=find)
    return [state for path, entry in top for state in walk.at(path, entry)]


class _Walk:
    def __init__(self, scenario: Scenario, name: Name, rank: int, *, loaded: bool, find: Find) -> None:
        self._find = find
        self._name = name
        self._rank = rank
        self._saved: dict[str, Unit] = saved_units(scenario) if loaded else {}
        self._objects = {unit.path: unit for unit in scenario.units(name) if unit.tensor is None}

    def at(self, path: Path, entry: Entry) -> Iterator[ExpectedState]:
        """What must be there, and below."""
        unit = self._objects.get(path)
        if unit is not None:
            yield from self._object(path, unit)
        elif isinstance(entry, Nested):
            yield ContainerState(path, _TYPES[entry.container])
            inside = children(entry.entries, self._name, path=path, sequence=entry.is_sequence, rank=self._rank)
            for inner, child in inside:
                yield from self.at(inner, child)
        else:
            assert isinstance(entry, TensorEntry)
            saved = self._saved.get(".".join(map(str, path)))
            layout = entry.layout(self._name)
            assert layout is not None
            content = None if saved is None else saved.tensor
            in_place = content is None or layout.memory != "meta"
            yield ExpectedTensor(path, entry, layout, content, in_place, self._find)

    def _object(self, path: Path, unit: Unit) -> Iterator[ExpectedState]:
        """An object is replaced by the one that was saved, whatever that is."""
        saved = self._saved.get(unit.fqn)
        if saved is None:
            yield from _whole(path, unit.entry, self._name, poison=True)
        else:
            yield from _whole(path, saved.entry, "save", poison=False)


def _whole(path: Path, entry: Entry, name: Name, *, poison: bool) -> Iterator[ExpectedState]:
    """A container or an object as it stands, with what is in it."""
    if isinstance(entry, Nested) and entry.container != "tuple":
        yield ContainerState(path, _TYPES[entry.container], in_place=False)
        for inner, child in children(entry.entries, name, path=path, sequence=entry.is_sequence):
            yield from _whole(inner, child, name, poison=poison)
    elif isinstance(entry, TensorEntry):
        yield ExpectedTensor(path, entry, Plain(), None if poison else entry, in_place=False)
    else:
        kind = "tuple" if isinstance(entry, Nested) else object_type(entry, poison=poison)
        yield ObjectState(path, kind, object_text(path, entry, name, poison=poison))


def _tell(entry: ObjectEntry) -> str:
    return shown(make_object(entry))


def object_type(entry: ObjectEntry, *, poison: bool) -> str:
    """The name of the object's type, as :func:`worlds.state.object_state` tells it."""
    if poison:
        return "Instance" if entry.form == "instance" else "str"
    return type(make_object(entry)).__name__


def object_text(
    path: Path, entry: Entry, name: Name, *, poison: bool, find: Find | None = None, tell: Tell = _tell
) -> str:
    """The text that :func:`worlds.state.object_state` makes of it.

    ``find`` says what a tensor in it holds, and ``tell`` what the text of an object is.
    """
    find = find or (poison_bytes if poison else expected_bytes)
    if isinstance(entry, Nested):
        placed = children(entry.entries, name, path=path, sequence=entry.is_sequence)
        inner = [
            (inside[-1], object_text(inside, child, name, poison=poison, find=find, tell=tell))
            for inside, child in placed
        ]
        return _container_text(entry, inner)
    if isinstance(entry, TensorEntry):
        box = Box((0,) * len(entry.shape), entry.shape)
        return f"{DTYPES[entry.dtype]} {entry.shape} {find('.'.join(map(str, path)), entry, box).hex()}"
    if poison:
        return POISON_INSTANCE if entry.form == "instance" else repr(POISON_OBJECT)
    return tell(entry)


def _container_text(nested: Nested, inner: Sequence[tuple[Key, str]]) -> str:
    match nested.container:
        case "list":
            return f"[{', '.join(text for _, text in inner)}]"
        case "tuple":
            return f"({', '.join(text for _, text in inner)})"
    return f"{_TYPES[nested.container]}({', '.join(f'{key!r}: {text}' for key, text in inner)})"
