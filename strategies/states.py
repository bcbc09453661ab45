"""Strategies for state dicts: tensors and objects under any name."""

from __future__ import annotations

import string

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.scenario import ChunkSharding, Entry, ObjectEntry, TensorEntry, Value

from ._bounds import check_bounds, check_rank
from .tensors import chunk_sharding_specs, dtypes, tensor_shapes

__all__ = ["fqns", "object_values", "state_dicts", "tensor_entries"]


def fqns() -> SearchStrategy[str]:
    """Fully qualified names: a letter, what real modules have, and any text; shrinks towards ``"a"``.

    Dots, digits and the empty name, since DCP joins the keys of nested dicts with dots, and names of files are near.
    """
    awkward = ["layers.0.weight", "a.b", "a", "", ".", "0", "a/b", "..", " ", "_extra_state", "ü", "a" * 300]
    return st.sampled_from(string.ascii_lowercase) | st.sampled_from(awkward) | st.text(max_size=8)


def object_values() -> SearchStrategy[Value]:
    """What an object in a state dict can be in a scenario; shrinks towards ``None``."""
    leaves = (
        st.none()
        | st.integers()
        | st.booleans()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8)
        | st.binary(max_size=8)
    )
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)


@st.composite
def tensor_entries(
    draw: DrawFn,
    *,
    names: SearchStrategy[str] | None = None,
    shapes: SearchStrategy[tuple[int, ...]] | None = None,
    save_world: int = 1,
    load_world: int = 1,
) -> TensorEntry:
    """Tensors saved in a world of ``save_world`` ranks and loaded in one of ``load_world``; 0 stands for no world.

    The sharding at load is drawn independently of the one at save, and each may be none: then the tensor is plain.
    Shrinks towards a plain 0-d float32.
    """
    fqn = draw(fqns() if names is None else names, label="fqn")
    shape = draw(tensor_shapes() if shapes is None else shapes, label="shape")
    dtype = draw(st.just("float32") | dtypes(), label="dtype")
    saved = draw(_shardings(len(shape), save_world), label="saved")
    loaded = draw(_shardings(len(shape), load_world), label="loaded")
    fill = draw(st.sampled_from(("distinct", "special")), label="fill")
    return TensorEntry(fqn, shape, dtype, saved, loaded, fill)  # type: ignore[arg-type]


def _shardings(dims: int, world_size: int) -> SearchStrategy[ChunkSharding | None]:
    if dims == 0 or world_size == 0:
        return st.none() | st.none()  # one draw, as elsewhere, so that what follows does not shift
    specs = chunk_sharding_specs(dims=dims, world_size=world_size)
    return st.none() | specs | specs


def state_dicts(
    *,
    save_world: int = 1,
    load_world: int = 1,
    min_entries: int = 0,
    max_entries: int = 3,
    names: SearchStrategy[str] | None = None,
    objects: bool = True,
) -> SearchStrategy[tuple[Entry, ...]]:
    """The entries of state dicts, each under a name of its own; without ``objects``, tensors only.

    Shrinks towards few entries. ``save_world`` and ``load_world`` are world sizes, or 0 for no world.
    """
    check_bounds("entries", min_entries, max_entries)
    for size in (save_world, load_world):
        check_rank("rank", 0, max(size, 1))
    named = fqns() if names is None else names
    entries: SearchStrategy[Entry] = tensor_entries(names=named, save_world=save_world, load_world=load_world)
    if objects:
        entries = entries | entries | entries | st.builds(ObjectEntry, named, object_values())

    def lists(at_least: int) -> SearchStrategy[list[Entry]]:
        return st.lists(entries, min_size=at_least, max_size=max_entries, unique_by=lambda entry: entry.fqn)

    # An empty state dict is a corner, and would else be two in five.
    some = lists(max(min_entries, min(1, max_entries)))
    return (lists(min_entries) | some | some).map(tuple)
