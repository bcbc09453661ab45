"""Strategies for state dicts: tensors and objects under any name, in containers of any depth."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.entries import TAKEN, Container, Entry, Form, Key, Nested, ObjectEntry, TensorEntry, Value
from worlds.layouts import Layout, Plain

from ._bounds import check_bounds, check_rank
from ._corners import favouring
from ._reused import reused, sampled_from
from ._several import several
from ._weighted import weighted
from .layouts import chunk_sharding_specs, layouts, memories, on_accelerator, on_meta, replicas
from .tensors import dtypes, tensor_shapes

__all__ = ["fqns", "nested_entries", "object_entries", "object_forms", "object_values", "state_dicts", "tensor_entries"]


@reused
def fqns() -> SearchStrategy[str]:
    """Fully qualified names: a letter, what real modules have, and any text; shrinks towards ``"a"``.

    Dots, digits and the empty name, since DCP joins the keys of nested dicts with dots, and names of files are near.
    """
    awkward = ["layers.0.weight", "a.b", "a", "", ".", "0", "a/b", "..", " ", "_extra_state", "ü", "a" * 100]
    return favouring(st.sampled_from(string.ascii_lowercase) | st.sampled_from(awkward) | st.text(max_size=8), whole=2)


@reused
def _keys() -> SearchStrategy[Key]:
    """Keys in a container: names, and now and then an int, which DCP's flattening makes a string (#153842)."""
    return weighted((5, fqns()), (1, st.integers(0, 3)))


@reused
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


@dataclass(frozen=True)
class _Sides:
    """The worlds at save and at load (0: none), and what an entry there may be."""

    save_world: int
    load_world: int
    everywhere: bool = False
    """Every rank has it, at save and at load."""
    whole: bool = False
    """It is in a container that is one object: plain tensors only."""
    core: bool = False
    """It is on every rank, at save and at load, plain or by a chunk sharding, and contiguous."""


@st.composite
def tensor_entries(
    draw: DrawFn,
    *,
    names: SearchStrategy[Key] | None = None,
    shapes: SearchStrategy[tuple[int, ...]] | None = None,
    save_world: int = 1,
    load_world: int = 1,
) -> TensorEntry:
    """Tensors saved in a world of ``save_world`` ranks and loaded in one of ``load_world``; 0 stands for no world.

    The layout at load is drawn independently of the one at save; now and then the tensor is not loaded at all. Where
    there is an accelerator, half of them are on it, at save, at load, or at both. Shrinks towards a plain 0-d float32
    on the CPU.
    """
    return draw(_tensors(fqns() if names is None else names, _Sides(save_world, load_world), shapes))


@reused
@st.composite
def _tensors(
    draw: DrawFn, names: SearchStrategy[Key], sides: _Sides, shapes: SearchStrategy[tuple[int, ...]] | None = None
) -> TensorEntry:
    key = draw(names, label="key")
    shape = draw(tensor_shapes() if shapes is None else shapes, label="shape")
    dtype = draw(_usual_dtypes(), label="dtype")
    saved = draw(_held(shape, dtype, sides, target=False), label="saved")
    loaded = draw(_held(shape, dtype, sides, target=True), label="loaded")
    fill = draw(sampled_from(("distinct", "distinct", "special", "special", "constant")), label="fill")
    target = draw(sampled_from(_TARGETS), label="target")
    if saved.memory == "expanded":
        fill = "constant"
    there = sides.everywhere or sides.whole or sides.core or target != "none"
    if target == "meta" and not (sides.whole or sides.core):
        loaded = on_meta(loaded)
    if not (sides.whole or sides.core):
        saved, loaded = on_accelerator(draw, dtype, saved, loaded)
    return TensorEntry(key, shape, dtype, saved, loaded if there else None, fill)  # type: ignore[arg-type]


# Seldom on the meta device, since ShardedTensors there are refused.
_TARGETS = (*["tensor"] * 17, "none", "none", "meta")


@reused
def _usual_dtypes() -> SearchStrategy[str]:
    usual = weighted((4, st.just("float32")), (1, st.just("complex64")))
    return weighted((1, usual), (1, dtypes()), whole=1)


@reused
def _held(shape: tuple[int, ...], dtype: str, sides: _Sides, *, target: bool) -> SearchStrategy[Layout]:
    if sides.whole:
        return memories(dtype=dtype, target=target).map(lambda memory: Plain((), memory))
    world = sides.load_world if target else sides.save_world
    if sides.core:
        plain: SearchStrategy[Layout] = st.just(Plain())
        return plain | chunk_sharding_specs(dims=len(shape), world_size=world) if shape and world else plain
    return layouts(shape=shape, dtype=dtype, world_size=world, target=target, everywhere=sides.everywhere)


@reused
def object_forms() -> SearchStrategy[tuple[Form, Value]]:
    """What an object is, with a value that it can hold; shrinks towards ``None`` itself.

    Every way that Python has to copy and to pickle an object, since ``async_save`` copies by code of its own, and
    objects that hold tensors, or themselves.
    """
    common: SearchStrategy[Form] = st.sampled_from(("value", "value", "instance", "BytesIO"))
    return weighted((1, common), (2, st.sampled_from(get_args(Form)))).flatmap(_held_by)


@reused
def _held_by(form: Form) -> SearchStrategy[tuple[Form, Value]]:
    taken = TAKEN.get(form)
    return st.tuples(st.just(form), object_values() if taken is None else _OF_TYPE[taken])


_OF_TYPE: dict[type, SearchStrategy[Value]] = {
    bytes: st.binary(max_size=8),
    float: st.floats(allow_nan=False, allow_infinity=False),
    int: st.integers(),
    type(None): st.none(),
}


def object_entries(
    *, names: SearchStrategy[Key] | None = None, save_world: int = 1, load_world: int = 1
) -> SearchStrategy[ObjectEntry]:
    """Non-tensor objects: values, and objects of any form; shrinks towards ``None`` on every rank."""
    return _objects(fqns() if names is None else names, _Sides(save_world, load_world))


@reused
@st.composite
def _objects(draw: DrawFn, names: SearchStrategy[Key], sides: _Sides) -> ObjectEntry:
    key = draw(names, label="key")
    form, value = draw(object_forms(), label="form and value")
    everywhere = sides.everywhere or sides.whole or sides.core
    saved = draw(replicas(world_size=max(1, sides.save_world), everywhere=everywhere), label="saved on")
    loaded = draw(replicas(world_size=max(1, sides.load_world), everywhere=everywhere), label="loaded on")
    absent = draw(sampled_from((False,) * 9 + (True,)), label="not loaded")
    if sides.core:
        form = "value"
    return ObjectEntry(key, value, form, saved, None if absent and not everywhere else loaded)


# A Stateful object is at the top or nowhere, so that it would be far the rarest.
_CONTAINERS: tuple[Container, ...] = ("dict", "dict", "list", "list", "ordered", "tuple", "stateful", "stateful")


def nested_entries(
    *, names: SearchStrategy[Key] | None = None, save_world: int = 1, load_world: int = 1, max_depth: int = 3
) -> SearchStrategy[Nested]:
    """Dicts, ``OrderedDict``\\s, lists, tuples and ``Stateful`` objects of entries, in each other to ``max_depth``.

    Empty ones too, and keys that are ints, contain dots, or collide with others once they are joined by dots. Shrinks
    towards an empty dict.
    """
    check_bounds("depth", 1, max_depth, at_least=1)
    return _nested(fqns() if names is None else names, _Sides(save_world, load_world), max_depth, top=True)


@reused
@st.composite
def _nested(draw: DrawFn, names: SearchStrategy[Key], sides: _Sides, depth: int, top: bool = False) -> Nested:
    key = draw(names, label="key")
    kinds = [kind for kind in _CONTAINERS if top or kind != "stateful"]
    container = draw(sampled_from(kinds), label="container")
    if container == "tuple" or (container == "list" and sides.whole):
        sides = replace(sides, whole=True)
    elif container == "list":
        sides = replace(sides, everywhere=True)
    entries = _entries(_keys(), sides, depth - 1)
    inside = draw(several(entries, min_size=0, max_size=3, unique_by=_flat_key), label="inside")
    if container == "list" and not sides.whole and not _is_gone_into(inside):
        inside = [entry for entry in inside if _is_plain(entry)]
    return Nested(key, container, tuple(inside))


def _is_gone_into(entries: Sequence[Entry]) -> bool:
    """Whether a list of these is no object of its own: a tensor or a mapping is in it."""
    return any(isinstance(entry, TensorEntry) or _opens(entry) for entry in entries)


def _opens(entry: Entry) -> bool:
    if not isinstance(entry, Nested) or entry.container == "tuple":
        return False
    return entry.container != "list" or _is_gone_into(entry.entries)


def _is_plain(entry: Entry) -> bool:
    return isinstance(entry, ObjectEntry | Nested)


def _key(entry: Entry) -> Key:
    return entry.key


def _flat_key(entry: Entry) -> str:
    # Most of the time: two keys that are one once they are strings are a corner that state_dicts() draws by itself.
    return str(entry.key)


@reused
def _entries(names: SearchStrategy[Key], sides: _Sides, depth: int) -> SearchStrategy[Entry]:
    tensors: SearchStrategy[Entry] = _tensors(names, sides)
    objects: SearchStrategy[Entry] = _objects(names, sides)
    nested: SearchStrategy[Entry] = _nested(names, sides, depth) if depth > 0 else objects
    return weighted((3, tensors), (1, objects), (1, nested))


@reused
def state_dicts(
    *,
    save_world: int = 1,
    load_world: int = 1,
    min_entries: int = 0,
    max_entries: int = 3,
    names: SearchStrategy[str] | None = None,
    objects: bool = True,
    max_depth: int = 2,
    core: bool = False,
    deep: bool = False,
    of_objects: bool = False,
) -> SearchStrategy[tuple[Entry, ...]]:
    """The entries of state dicts, each under a name of its own; without ``objects``, tensors only.

    Shrinks towards few entries. ``save_world`` and ``load_world`` are world sizes, or 0 for no world; containers are in
    each other to ``max_depth``, and there are none with 0. With ``core``, there are none either, and every entry is on
    every rank, plain or by a chunk sharding. With ``deep``, most entries are containers; with ``of_objects``, objects.
    """
    check_bounds("entries", min_entries, max_entries)
    for size in (save_world, load_world):
        check_rank("rank", 0, max(size, 1))
    named = fqns() if names is None else names
    sides = _Sides(save_world, load_world, core=core)
    nests = objects and max_depth and not core
    tensors: SearchStrategy[Entry] = _tensors(named, sides)
    # As many alternatives without objects as with them, so that what is drawn keeps its meaning in shrinking.
    others: SearchStrategy[Entry] = _objects(named, sides) if objects else tensors
    nested: SearchStrategy[Entry] = _nested(named, sides, max_depth, top=True) if nests else tensors
    entries = weighted((3, tensors), (9 if of_objects else 1, others), (6 if deep else 1, nested))

    def lists(at_least: int) -> SearchStrategy[list[Entry]]:
        return several(entries, min_size=at_least, max_size=max_entries, unique_by=_key)

    # An empty state dict is a corner, and would else be two in five.
    some = lists(max(min_entries, min(1, max_entries)))
    drawn = weighted((1, lists(min_entries)), (2, some), whole=0).map(tuple)
    return st.builds(_with_a_tie, drawn, st.sampled_from((0,) * 5 + (max_entries,)))


def _with_a_tie(entries: tuple[Entry, ...], most: int) -> tuple[Entry, ...]:
    """With one more tensor, which is tied to the first plain one, if there are no more than ``most`` then."""
    named = (entry for entry in entries if isinstance(entry, TensorEntry) and str(entry.key))
    tensor = next((entry for entry in named if entry.saved == Plain()), None)
    if tensor is None or len(entries) >= most:
        return entries
    key = next(key for key in ("tied", "t", "u", "v", "w") if key not in {entry.key for entry in entries})
    return (*entries, replace(tensor, key=key, tied=str(tensor.key)))
