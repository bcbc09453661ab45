"""Strategies for state dicts that DCP must refuse: what does not fit the checkpoint, and names that collide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.entries import Entry, Nested, ObjectEntry, TensorEntry
from worlds.layouts import Plain

from ._reused import sampled_from
from .tensors import dtypes

__all__ = ["colliding_entries", "mismatched_entries"]

_PLAIN = Plain()


def mismatched_entries(entries: tuple[Entry, ...]) -> SearchStrategy[tuple[Entry, ...]]:
    """The entries, one of which is loaded as what it was not saved as; shrinks towards the first one, not saved at all.

    A key that was not saved; another shape (an extent more, or other dims); another dtype; an object for a tensor, and
    a tensor for an object.
    """
    if not entries:
        raise InvalidArgument("without an entry nothing can be mismatched")
    return _mismatched(entries)


def colliding_entries(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The entries, and one more whose name is, once the state dict is flattened, that of what is in a container.

    Without a container, one is made. DCP refuses to save such a state dict.
    """
    taken = {entry.key for entry in entries}
    names = [
        f"{entry.key}.{inner.key}"
        for entry in entries
        if isinstance(entry, Nested) and not entry.is_sequence
        for inner in entry.entries
        if not isinstance(inner, Nested) and f"{entry.key}.{inner.key}" not in taken
    ]
    if names:
        return (*entries, ObjectEntry(names[0]))
    key = next(key for key in ("c", "d", "e", "f", "g") if not {key, f"{key}.x"} & taken)
    return (*entries, Nested(key, "dict", (ObjectEntry("x"),)), ObjectEntry(f"{key}.x"))


@st.composite
def _mismatched(draw: DrawFn, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    index = draw(st.integers(0, len(entries) - 1), label="which entry")
    kind = draw(sampled_from(("missing", "shape", "dims", "dtype", "kind")), label="mismatch")
    dtype = draw(dtypes(), label="dtype, if another")
    changed = _changed(entries[index], kind, dtype)
    return (*entries[:index], *changed, *entries[index + 1 :])


def _changed(entry: Entry, kind: str, dtype: str) -> tuple[Entry, ...]:
    if isinstance(entry, Nested):
        # Saved as a container and loaded as a tensor, whose name is nowhere in the checkpoint, or that of an object.
        return (*_never_loaded((entry,)), TensorEntry(entry.key, saved=None))
    if kind == "missing":
        return (_never_saved(entry),)
    if isinstance(entry, ObjectEntry):
        return (replace(entry, loaded=None), TensorEntry(entry.key, saved=None))
    make: dict[str, Callable[[TensorEntry], Entry]] = {
        "shape": lambda tensor: replace(tensor, shape=(*tensor.shape[:-1], (tensor.shape or (1,))[-1] + 1)),
        "dims": lambda tensor: replace(tensor, shape=(1,) if len(tensor.shape) != 1 else ()),
        "dtype": lambda tensor: replace(tensor, dtype=_another(dtype, entry.dtype)),
        "kind": lambda tensor: ObjectEntry(tensor.key, saved=None),
    }
    target = make[kind](TensorEntry(entry.key, entry.shape, entry.dtype, saved=None))
    return (replace(entry, loaded=None), target)


def _never_saved(entry: TensorEntry | ObjectEntry) -> Entry:
    if isinstance(entry, ObjectEntry):
        return replace(entry, saved=None, loaded=entry.loaded or _PLAIN)
    return replace(entry, saved=None, loaded=entry.loaded or _PLAIN)


def _another(dtype: str, saved: str) -> str:
    if dtype != saved:
        return dtype
    return "float64" if saved == "float32" else "float32"


def _never_loaded(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The entries, without any of them at load; a container without entries is there at load too, and so left out."""
    found: list[Entry] = []
    for entry in entries:
        if not isinstance(entry, Nested):
            found.append(replace(entry, loaded=None))
        elif inside := _never_loaded(entry.entries):
            found.append(replace(entry, entries=inside))
    return tuple(found)
