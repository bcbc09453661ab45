"""The objects that entries stand for: how each form of them is made, told as text, and changed.

Scripts have these definitions in them as they stand here, so that they need nothing but Python's library and torch.
"""

from __future__ import annotations

import collections
import copyreg
import dataclasses
import datetime
import enum
import functools
import io
import types
import typing
from collections.abc import Callable

import torch

from .entries import Form, ObjectEntry

__all__ = ["FIXED", "MAKERS", "Instance", "change", "make_object", "shown"]


@dataclasses.dataclass
class Instance:
    """An object of a class of its own."""

    value: object


class Slotted:
    """An object that has slots, and no dict."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class Noted(Slotted):
    """An object that has slots, and a dict as well."""

    def __init__(self, value: object) -> None:
        super().__init__(value)
        self.note = "noted"


class Copied(Instance):
    """An object that says how it is copied."""

    def __deepcopy__(self, _: dict[int, object]) -> object:
        return Copied(self.value)


def the_only(cls: type) -> typing.Any:
    """The one object of a class."""
    return cls()


@the_only
class Sole:
    """What is pickled as its name alone."""

    def __repr__(self) -> str:
        return "Sole"

    def __reduce__(self) -> str:
        return "Sole"


def registered(cls: type) -> type:
    """Let the objects of a class be pickled by what is registered for it."""
    copyreg.pickle(cls, lambda instance: (cls, (instance.value,)))
    return cls


@registered
class Registered(Instance):
    """An object that is pickled by what is registered for its class."""


class Reduced(Instance):
    """An object that is pickled as the call that makes it."""

    def __reduce__(self) -> tuple[object, ...]:
        return Reduced, (self.value,)


class Stated(Instance):
    """An object that says what its state is, and takes it back."""

    def __getstate__(self) -> tuple[object, object]:
        return self.value, None

    def __setstate__(self, state: tuple[object, object]) -> None:
        self.value, _ = state


class Listed(Instance):
    """An object that is pickled as what is appended to it."""

    def __reduce__(self) -> tuple[object, ...]:
        return Listed, (None,), None, iter([self.value])

    def append(self, value: object) -> None:
        """Take it as what it holds."""
        self.value = value


class Keyed(Instance):
    """An object that is pickled as what it has under its keys."""

    def __reduce__(self) -> tuple[object, ...]:
        return Keyed, (None,), None, None, iter([("value", self.value)])

    def __setitem__(self, key: str, value: object) -> None:
        setattr(self, key, value)


class Asked(Instance):
    """An object with a method that is held by itself."""

    def ask(self) -> object:
        """Return what it holds."""
        return self.value


class Kind(enum.Enum):
    """An enumeration."""

    ONE = 1


class Pair(typing.NamedTuple):
    """A named tuple."""

    first: object
    second: object


def method(value: object) -> object:
    """A method of an object."""
    return Asked(value).ask


def twice(value: object) -> object:
    """One object, held twice."""
    instance = Instance(value)
    return instance, instance


def cycle(value: object) -> object:
    """What holds itself."""
    instance = Instance(None)
    instance.value = whole = (value, instance)
    return whole


def sole(_: object) -> object:
    """The object that is pickled as its name."""
    return Sole


def kind(_: object) -> object:
    """A member of an enumeration."""
    return Kind.ONE


def kinds(_: object) -> object:
    """A class, and of a class of classes."""
    return Kind


def pair(value: object) -> object:
    """A named tuple."""
    return Pair(value, 1)


def size(value: bytes) -> object:
    """The shape of a tensor."""
    return torch.Size(value)


def one_in_set(value: object) -> object:
    """A set."""
    return {value}


def one_in_frozenset(value: object) -> object:
    """A frozenset."""
    return frozenset({value})


def queue(value: object) -> object:
    """A deque that holds two at most."""
    return collections.deque([value], maxlen=2)


def partial(value: object) -> object:
    """A call with some of its arguments."""
    return functools.partial(dict, value=value)


def date(value: int) -> object:
    """One of all dates."""
    return datetime.date.fromordinal(value % 3_652_059 + 1)


def array(value: bytes) -> object:
    """An array of numpy's."""
    return torch.tensor(list(value), dtype=torch.uint8).numpy()


def scalar(value: float) -> object:
    """A scalar of numpy's."""
    return torch.tensor(value, dtype=torch.float64).numpy()[()]


def with_tensor(value: bytes) -> object:
    """An object that holds a tensor, to which something is attached."""
    tensor = torch.tensor(list(value), dtype=torch.uint8)
    vars(tensor)["note"] = "noted"
    return Instance(tensor)


def with_views(value: bytes) -> object:
    """An object that holds two tensors that have their memory in common."""
    tensor = torch.tensor([0, *value], dtype=torch.uint8)
    return Instance((tensor[1:], tensor))


def with_parameter(value: bytes) -> object:
    """An object that holds a parameter."""
    return Instance(torch.nn.Parameter(torch.tensor(list(value), dtype=torch.float32)))


def with_sparse(value: bytes) -> object:
    """An object that holds a sparse tensor."""
    return Instance(torch.tensor(list(value), dtype=torch.float32).to_sparse())


MAKERS: dict[Form, Callable[[typing.Any], object]] = {
    "BytesIO": io.BytesIO,
    "instance": Instance,
    "slots": Slotted,
    "slots and dict": Noted,
    "deepcopy": Copied,
    "name": sole,
    "copyreg": Registered,
    "reduce": Reduced,
    "state": Stated,
    "list items": Listed,
    "dict items": Keyed,
    "method": method,
    "twice": twice,
    "cycle": cycle,
    "enum": kind,
    "class": kinds,
    "named tuple": pair,
    "size": size,
    "set": one_in_set,
    "frozenset": one_in_frozenset,
    "deque": queue,
    "partial": partial,
    "date": date,
    "array": array,
    "scalar": scalar,
    "tensor": with_tensor,
    "views": with_views,
    "parameter": with_parameter,
    "sparse": with_sparse,
}
"""What makes an object of its value, for each form but that of a value itself."""

FIXED: tuple[Form, ...] = (
    "value",
    "name",
    "enum",
    "class",
    "named tuple",
    "size",
    "frozenset",
    "date",
    "scalar",
)
"""The forms of objects that :func:`change` does not change."""


def make_object(entry: ObjectEntry) -> object:
    """The object that the entry stands for."""
    return entry.value if entry.form == "value" else MAKERS[entry.form](entry.value)


def in_one_memory(tensor: torch.Tensor, other: object) -> bool:
    """Whether the other is a tensor as well, and in the memory of the first."""
    if not isinstance(other, torch.Tensor) or tensor.is_sparse or other.is_sparse:
        return False
    return tensor.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def shown(value: object, told: list[object] | None = None) -> str:
    """The text of an object and of what it holds; where that was told already, that it is the same again."""
    told = [] if told is None else told
    if isinstance(value, io.BytesIO):
        return f"BytesIO({value.getvalue()!r})"
    if isinstance(value, types.MethodType):
        return f"{shown(value.__self__, told)}.{value.__name__}"
    if isinstance(value, torch.Tensor):
        attached = "".join(f", {key}={shown(each)}" for key, each in vars(value).items())
        common = ", in the same memory" if any(in_one_memory(value, each) for each in told) else ""
        told.append(value)
        return f"{type(value).__name__}({value.to_dense().tolist()}{attached}{common})"
    if isinstance(value, tuple):
        name = "" if type(value) is tuple else type(value).__name__
        return f"{name}({', '.join(shown(each, told) for each in value)})"
    if isinstance(value, Slotted):
        slots = [f"{name}={getattr(value, name, 'nothing')!r}" for name in value.__slots__]
        return f"{type(value).__name__}({', '.join(slots)}, {getattr(value, '__dict__', None)})"
    if isinstance(value, Instance):
        if any(value is each for each in told):
            return f"{type(value).__name__} again"
        told.append(value)
        inner = ", ".join(f"{key}={shown(each, told)}" for key, each in vars(value).items())
        return f"{type(value).__name__}({inner})"
    return repr(value)


def change(value: object) -> None:
    """Change an object and what it holds, if that can be changed, as the next step of a training does."""
    if isinstance(value, io.BytesIO):
        value.seek(0)
        value.truncate()
        value.write(b"changed")
    if isinstance(value, types.MethodType):
        change(value.__self__)
    if isinstance(value, torch.Tensor):
        (value._values() if value.is_sparse else value).detach().zero_()
    if isinstance(value, set):
        value.add("changed")
    if isinstance(value, collections.deque):
        value.append("changed")
    if isinstance(value, functools.partial):
        value.keywords["value"] = "changed"
    if hasattr(value, "fill"):
        value.fill(0)
    if isinstance(value, tuple):
        for each in value:
            change(each)
    if isinstance(value, Slotted):
        value.value = "changed"
    if isinstance(value, Instance):
        before, value.value = value.value, "changed"
        change(before)
