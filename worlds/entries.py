"""The entries of a state dict, as plain data: tensors, other objects, and containers of both.

An entry is there at save unless ``saved`` is ``None``, and at load unless ``loaded`` is ``None``; so one that is
missing on one side is an entry like any other, and two entries with one key, one of them saved and the other loaded,
are a state dict whose shape, dtype or kind has changed in between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from .concise import Concise
from .dtypes import DTYPES
from .invalid import require
from .layouts import ChunkSharding, Device, EnumerableSharding, Layout, Memory, Plain

__all__ = [
    "LAST_STEP",
    "TAKEN",
    "Container",
    "Entry",
    "Form",
    "Key",
    "Nested",
    "ObjectEntry",
    "Path",
    "TensorEntry",
    "Value",
]

Key = str | int
Path = tuple[Key, ...]
"""Where something is in a state dict: the key in each container on the way to it, an index in lists and tuples."""

_LEAVES = (type(None), bool, int, float, str, bytes)
Value = None | bool | int | float | str | bytes | tuple["Value", ...]

_LAZY: dict[Memory, tuple[str, ...]] = {
    "conjugated": ("complex64", "complex128"),
    "negated": ("float32", "float64"),
    "gradient": ("float32", "float64", "float16", "bfloat16", "complex64", "complex128"),
}
"""The dtypes that a memory other than a plain arrangement of bytes is for."""

LAST_STEP = 0xFF
"""The number of steps of a training of which a tensor has values."""

_PLAIN = Plain()


@dataclass(frozen=True, repr=False)
class TensorEntry(Concise):
    """A tensor of the state dict, and how the ranks hold it at save and at load.

    ``fill`` says which bits it has: ``"distinct"`` (as unequal as the dtype allows), ``"special"`` (NaNs with payloads,
    infinities, negative zeros, extreme integers) or ``"constant"`` (all elements equal); see :mod:`worlds.values`. In
    each ``step`` of a training it has others, but for bool, which has too few. It has the values of the tensor that it
    is ``tied`` to, by the name of that, and where both are plain and contiguous it is saved from the memory of that.
    """

    _positional: ClassVar[int] = 2

    key: Key
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    saved: Layout | None = _PLAIN
    loaded: Layout | None = _PLAIN
    fill: Literal["distinct", "special", "constant"] = "distinct"
    step: int = 0
    tied: str = ""

    def __post_init__(self) -> None:
        require(all(extent >= 0 for extent in self.shape), f"{self.key!r} has a negative extent: {self.shape}")
        require(self.dtype in DTYPES, f"{self.key!r} has a dtype that this torch cannot save: {self.dtype!r}")
        require(self.fill in ("distinct", "special", "constant"), f"{self.key!r} has an unknown fill: {self.fill!r}")
        require(0 <= self.step < LAST_STEP, f"{self.key!r} has a step that is not below {LAST_STEP}: {self.step}")
        for layout in (self.saved, self.loaded):
            if layout is not None:
                layout.check(self.shape)
                self._check_memory(layout)
        require(self.saved is None or self.saved.memory != "meta", f"{self.key!r} is to be saved from the meta device")
        memory = self.loaded.memory if self.loaded is not None else "contiguous"
        require(memory != "expanded", f"{self.key!r} is to be loaded into a tensor whose elements are all one")

    def _check_memory(self, layout: Layout) -> None:
        memory: Memory = layout.memory
        allowed = _LAZY.get(memory, (self.dtype,))
        require(layout.device in get_args(Device), f"{self.key!r} is on an unknown device: {layout.device!r}")
        require(memory != "meta" or layout.device == "cpu", f"{self.key!r} is on the meta device and on another")
        require(self.dtype in allowed, f"{self.key!r} of {self.dtype} cannot be {memory}")
        constant = self.fill == "constant" or math.prod(self.shape) < 2
        require(memory != "expanded" or constant, f"{self.key!r} is expanded, which takes equal elements")
        if isinstance(layout, ChunkSharding | EnumerableSharding):
            holds = memory == "contiguous" or (memory == "meta" and layout.kind != "Checkpointable")
            require(holds, f"{self.key!r} is in shards, which cannot be {memory}")
        if isinstance(layout, EnumerableSharding) and layout.holder == "ShardedTensor":
            require(len(self.shape) > 0, f"{self.key!r} has no dims for a ShardedTensor to shard")

    def content(self, fqn: str) -> tuple[str, tuple[int, ...], str, str, int]:
        """What its bits are a function of, if that is its name."""
        return self.tied or fqn, self.shape, self.dtype, self.fill, self.step

    def is_in_memory_of(self, other: TensorEntry, name: str) -> bool:
        """Whether it is tied to that tensor, of that name, and saved from its memory, on the ranks that have both."""
        sides = [each for each in (self.saved, other.saved) if isinstance(each, Plain) and each.memory == "contiguous"]
        together = len(sides) == 2 and sides[0].device == sides[1].device
        same = self.content("") == other.content(name) and math.prod(self.shape) > 0
        return self.tied == name != "" and together and same

    def layout(self, operation: Literal["save", "load"]) -> Layout | None:
        """How the ranks hold it in that operation, ``None`` where it is not there."""
        return self.saved if operation == "save" else self.loaded


Form = Literal[
    "value",
    "BytesIO",
    "instance",
    "slots",
    "slots and dict",
    "deepcopy",
    "name",
    "copyreg",
    "reduce",
    "state",
    "list items",
    "dict items",
    "method",
    "twice",
    "cycle",
    "enum",
    "class",
    "named tuple",
    "size",
    "set",
    "frozenset",
    "deque",
    "partial",
    "date",
    "array",
    "scalar",
    "tensor",
    "views",
    "parameter",
    "sparse",
]
"""What an object is, by how it holds its value, and how Python copies and pickles it (:mod:`worlds.objects`).

The value itself; a ``BytesIO`` or an instance of a class that holds it; an instance of one that has slots, or slots and
a dict, or says by ``__deepcopy__`` how it is copied, or is pickled as its name, by ``copyreg``, as a call
(``__reduce__``), as a state (``__getstate__``), as items of a list or of a dict; a method of an instance; one instance
twice, and what holds itself; a member of an enumeration, and the class of it; a named tuple, a ``torch.Size``, sets, a
deque, a ``functools.partial``, a date, an array and a scalar of numpy's; and an instance that holds a tensor, two views
of one, a parameter, or a sparse tensor.
"""

TAKEN: dict[Form, type] = {
    "BytesIO": bytes,
    "name": type(None),
    "enum": type(None),
    "class": type(None),
    "size": bytes,
    "date": int,
    "array": bytes,
    "scalar": float,
    "tensor": bytes,
    "views": bytes,
    "parameter": bytes,
    "sparse": bytes,
}
"""What the value of an object of that form is; of any other it is anything."""


@dataclass(frozen=True, repr=False)
class ObjectEntry(Concise):
    """A non-tensor object of the state dict, equal on the ranks that have it: of that form, with that value."""

    _positional: ClassVar[int] = 2

    key: Key
    value: Value = None
    form: Form = "value"
    saved: Plain | None = _PLAIN
    loaded: Plain | None = _PLAIN

    def __post_init__(self) -> None:
        require(_is_value(self.value), f"{self.key!r} has a value that a scenario cannot hold: {self.value!r}")
        require(self.form in get_args(Form), f"{self.key!r} has an unknown form: {self.form!r}")
        taken = TAKEN.get(self.form, type(self.value))
        require(type(self.value) is taken, f"{self.key!r} is a {self.form} of what is not {taken.__name__}")
        for layout in (self.saved, self.loaded):
            plain = layout is None or (isinstance(layout, Plain) and layout == Plain(layout.ranks))
            require(plain, f"{self.key!r} is no tensor and has no memory or device, nor shards")

    def __eq__(self, other: object) -> bool:
        """Whether they are the same scenario: ``0``, ``False`` and ``0.0``, which are equal, are not."""
        return repr(self) == repr(other) if isinstance(other, ObjectEntry) else NotImplemented

    def __hash__(self) -> int:
        return hash(repr(self))

    def layout(self, operation: Literal["save", "load"]) -> Plain | None:
        """Which ranks have it in that operation, ``None`` where it is not there."""
        return self.saved if operation == "save" else self.loaded


Container = Literal["dict", "ordered", "list", "tuple", "stateful"]


@dataclass(frozen=True, repr=False)
class Nested(Concise):
    """A container in the state dict: a dict, an ``OrderedDict``, a list, a tuple, or a ``Stateful`` object.

    In a list and a tuple the entries stand in their order, and their keys are only names for them here. A ``Stateful``
    object is one whose ``state_dict()`` are the entries; DCP asks for them where it stands at the top.
    """

    _positional: ClassVar[int] = 3

    key: Key
    container: Container = "dict"
    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        require(self.container in ("dict", "ordered", "list", "tuple", "stateful"), f"no container: {self.container!r}")
        for entry in self.entries:
            stateful = isinstance(entry, Nested) and entry.container == "stateful"
            require(not stateful, f"{entry.key!r} is a Stateful object inside {self.key!r}, where DCP does not look")

    @property
    def is_sequence(self) -> bool:
        """Whether places count, and not keys."""
        return self.container in ("list", "tuple")


Entry = TensorEntry | ObjectEntry | Nested


def _is_value(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_value, value))
    if isinstance(value, float):
        return math.isfinite(value)  # NaN is unequal to itself, and the repr of infinity is no Python
    return isinstance(value, _LEAVES)
