"""What ``async_save`` is known to make of objects that it stages: the ids of the entries of the ledger, and a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from worlds.entries import Entry, Form, Nested, ObjectEntry, Path
from worlds.objects import Instance, change, make_object, shown
from worlds.operations import Operation
from worlds.state_tree import children

from .expected_state import Find, object_text

__all__ = ["as_staged", "at_path", "wrongly_staged"]


def wrongly_staged(entry: Entry, save: Operation, *, in_tuple: bool = False) -> Iterator[str]:
    """The entries of the ledger that say what such a save makes of the object, or of what is in the container."""
    if isinstance(entry, Nested):
        if in_tuple and entry.container == "ordered" and _by_writer(save):
            yield "staging-ordered-dict"
        for inner in entry.entries:
            yield from wrongly_staged(inner, save, in_tuple=in_tuple or entry.container == "tuple")
    elif isinstance(entry, ObjectEntry) and (found := _made_of(entry, save)):
        yield found[0]


def as_staged(path: Path, entry: Entry, save: Operation, *, find: Find | None = None) -> tuple[str, str]:
    """The type and the text of what such a save makes of an object, or of a tuple, where it is staged."""
    if isinstance(entry, ObjectEntry):
        staged = _staged(entry, save)
        return type(staged).__name__, shown(staged)
    text = object_text(path, entry, "save", poison=False, find=find, tell=lambda inner: shown(_staged(inner, save)))
    return "tuple", text.replace("OrderedDict(", "dict(") if _by_writer(save) else text


def at_path(entries: tuple[Entry, ...], path: Path, *, above: Path = (), sequence: bool = False) -> Iterator[Entry]:
    """What is saved there."""
    for place, entry in children(entries, "save", path=above, sequence=sequence):
        if place == path:
            yield entry
        elif isinstance(entry, Nested) and path[: len(place)] == place:
            yield from at_path(entry.entries, path, above=place, sequence=entry.is_sequence)


def _staged(entry: ObjectEntry, save: Operation) -> object:
    found = _made_of(entry, save)
    return make_object(entry) if found is None else found[1](make_object(entry))


def _made_of(entry: ObjectEntry, save: Operation) -> tuple[str, Callable[[object], object]] | None:
    if not save.uploads:
        return None
    return (_BY_WRITER if _by_writer(save) else _BY_DEFAULT).get(entry.form)


def _by_writer(save: Operation) -> bool:
    return save.uploads and save.stager == "writer"


def _changed(made: object) -> object:
    change(made)
    return made


def _two(made: object) -> object:
    assert isinstance(made, tuple)
    return tuple(Instance(one.value) for one in made)


def _plain(made: object) -> object:
    assert isinstance(made, tuple)
    return tuple(made)


def _without_class(made: object) -> object:
    """The instance, with a tensor in the place of a parameter."""
    assert isinstance(made, Instance)
    assert isinstance(made.value, torch.Tensor)
    return Instance(made.value.detach())


_BY_WRITER: dict[Form, tuple[str, Callable[[object], object]]] = {
    "BytesIO": ("staging-file-in-memory", _changed),
    "twice": ("staging-held-twice", _two),
    "named tuple": ("staging-named-tuple", _plain),
    "size": ("staging-named-tuple", _plain),
}
_BY_DEFAULT: dict[Form, tuple[str, Callable[[object], object]]] = {
    "parameter": ("staging-parameter", _without_class),
}
