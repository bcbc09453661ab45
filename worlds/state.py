"""The state dict of one rank: what it saves, what it loads into, and what it holds afterwards, as data.

A load target is filled with poison and lies between guards, so that an element that the load forgot and one that it
should not have touched are both seen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch.distributed._shard import sharded_tensor
from torch.distributed._shard.sharded_tensor import ShardedTensor

from .accelerator import torch_device
from .dtypes import DTYPES
from .entries import Entry, Nested, ObjectEntry, Path, TensorEntry
from .layouts import Layout
from .memory import GuardedMemory, join_local, make_local
from .objects import Instance, change, make_object, shown
from .outcome import ChunkState, ContainerState, EntryState, ObjectState, TensorState
from .parts import Box, Part
from .scenario import Scenario
from .state_tree import Leaf, children, ties
from .tensors import local_tensors, make_tensor
from .values import expected_bits, poison_bits, poison_bytes, tensor_bytes

__all__ = ["OVERWRITTEN", "POISON_OBJECT", "StateDict", "Stateful", "object_state"]

POISON_OBJECT = "<not loaded>"
"""What stands in a load target where an object is to be loaded; in an instance of a class where the form is that."""

OVERWRITTEN = 0xEE
"""What each byte of a tensor is after :meth:`StateDict.overwrite`."""

OVERWRITTEN_OBJECT = "<overwritten>"
"""What stands in a container in the place of an object after :meth:`StateDict.overwrite`."""

_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Stateful:
    """Has a state dict, which is asked of it at save and at load, and given back to it after a load."""

    def __init__(self, entries: dict[Any, Any]) -> None:
        self.entries = entries

    def state_dict(self) -> dict[Any, Any]:
        """The entries in a dict of their own, as modules and optimizers make it."""
        return dict(self.entries)

    def load_state_dict(self, state_dict: dict[Any, Any]) -> None:
        """Takes over what was loaded."""
        self.entries = state_dict


class StateDict:
    """One rank's state dict in one operation; ``entries`` is what is handed to DCP.

    ``group`` is the operation's process group, ``None`` for the default one. ``place_faults`` gets each ``Stateful``
    object.
    """

    def __init__(
        self,
        scenario: Scenario,
        name: Literal["save", "load"],
        rank: int,
        *,
        group: Any = None,
        place_faults: Callable[[Stateful], None] = lambda _: None,
    ) -> None:
        self._name = name
        self._operation = scenario.operation(name)
        self._rank = rank
        self._group = group
        self._place_faults = place_faults
        self._leaves = {leaf.path: leaf for leaf in scenario.leaves(name)}
        self._saved = {leaf.fqn: leaf.entry for leaf in scenario.leaves("save")}
        self._memory: dict[Path, list[GuardedMemory]] = {}
        self._module: torch.nn.Module | None = None
        self.entries: dict[Any, Any] = self._rotated(self._tied(dict(self._children(scenario.entries))))
        if scenario.container == "module":
            self._module = _module(self.entries)
            self.entries = dict(self._module.state_dict())
        before = list(_walk(self.entries, ()))
        self._before = {path: _identity(value) for path, value in before}
        # Kept, since what comes in its place could else get its address, and pass for it.
        self._kept = [value for _, value in before]
        self._before_overwrite: tuple[EntryState, ...] | None = None
        self._failed = False

    def observe(self, *, failed: bool = False) -> tuple[EntryState, ...]:
        """What the rank holds now, in the state dict's order; a module is asked for its state dict again.

        What it held before :meth:`overwrite`, where that was called. What a load has made in the place of a tensor on
        the meta device, and not filled since it has ``failed`` or had nothing for it, is arbitrary, and so poison.
        """
        self._failed = failed
        if self._before_overwrite is not None:
            return self._before_overwrite
        now = list(_walk(self.entries, ()))
        in_place = {path: self._before.get(path) == _identity(value) for path, value in now}
        if self._module is not None:
            now = list(_walk(self._module.state_dict(), ()))
        return tuple(self._observe(path, value, in_place.get(path, False)) for path, value in now)

    def overwrite(self) -> None:
        """Change every tensor and object that is on this rank, as the next step of a training does."""
        self._before_overwrite = self.observe()
        _overwrite(self.entries)

    def _tied(self, entries: dict[Any, Any]) -> dict[Any, Any]:
        """The entries, where tensors that are tied are in one memory, as those of a module are that shares weights."""
        tied = ties(self._leaves.values()) if self._name == "save" else ()
        for one, other in tied:
            if one.path[0] in entries and other.path[0] in entries:
                entries[one.path[0]] = entries[other.path[0]].detach()
        return entries

    def _rotated(self, entries: dict[Any, Any]) -> dict[Any, Any]:
        if not self._operation.rotated or not entries:
            return entries
        items = list(entries.items())
        start = self._rank % len(items)
        return dict(items[start:] + items[:start])

    def _children(self, entries: Sequence[Entry], path: Path = (), sequence: bool = False) -> Iterator[tuple[Any, Any]]:
        placed = children(entries, self._name, path=path, sequence=sequence, rank=self._rank)
        return ((inner[-1], self._build(inner, entry)) for inner, entry in placed)

    def _build(self, path: Path, entry: Entry) -> Any:
        if isinstance(entry, Nested):
            return self._build_nested(path, entry)
        if isinstance(entry, ObjectEntry):
            return _poison_object(entry) if self._name == "load" else make_object(entry)
        layout = entry.layout(self._name)
        assert layout is not None
        leaf = self._leaves[path]

        def fill(part: Part) -> torch.Tensor:
            return self._fill(leaf, entry, layout, part)

        def join(tensors: Sequence[torch.Tensor], places: Sequence[Box], shape: Sequence[int]) -> torch.Tensor:
            if layout.memory == "meta":
                return torch.empty(tuple(shape), dtype=DTYPES[entry.dtype], device="meta")
            return join_local(tensors, places, shape, entry.dtype, self._memory.setdefault(path, []), layout.device)

        return make_tensor(entry, layout, self._operation, self._rank, self._group, fill, join)

    def _build_nested(self, path: Path, nested: Nested) -> Any:
        inside = list(self._children(nested.entries, path, nested.is_sequence))
        match nested.container:
            case "list":
                return [value for _, value in inside]
            case "tuple":
                return tuple(value for _, value in inside)
            case "ordered":
                return OrderedDict(inside)
            case "stateful":
                stateful = Stateful(dict(inside))
                self._place_faults(stateful)
                return stateful
        return dict(inside)

    def _fill(self, leaf: Leaf, entry: TensorEntry, layout: Layout, part: Part) -> torch.Tensor:
        if self._name == "save":
            bits = expected_bits(leaf.fqn, entry, part)
            if layout.memory == "contiguous" and bits.numel():
                # As bytes, which go to any device.
                copied = bits.clone(memory_format=torch.contiguous_format).to(torch_device(layout.device))
                return copied.view(DTYPES[entry.dtype]).squeeze(-1)
        else:
            bits = poison_bits(leaf.fqn, _as_saved(entry, self._saved.get(leaf.fqn)), part)
        memory = self._memory.setdefault(leaf.path, [])
        return make_local(bits, entry.dtype, layout.memory, memory, layout.device)

    def _observe(self, path: Path, value: Any, in_place: bool) -> EntryState:
        if isinstance(value, torch.Tensor):
            return self._observe_tensor(path, value, in_place)
        if isinstance(value, Stateful) and not isinstance(value.entries, Mapping):
            return ObjectState(path, "Stateful", f"that was given a {type(value.entries).__name__} for its state dict")
        if isinstance(value, dict | list | Stateful):
            return ContainerState(path, type(value).__name__, in_place or self._name == "save")
        return object_state(path, value)

    def _observe_tensor(self, path: Path, value: torch.Tensor, in_place: bool) -> TensorState:
        kind, tensors = local_tensors(value)
        if isinstance(value, ShardedTensor):
            # From its metadata: each attribute asked of the tensor itself costs a dispatch.
            dtype, shape = value.metadata().tensor_properties.dtype, value.metadata().size
        else:
            dtype, shape = value.dtype, getattr(value, "global_shape", value.shape)
        return TensorState(
            path=path,
            kind=kind,
            dtype=_DTYPE_NAMES.get(dtype, str(dtype)),
            shape=tuple(shape),
            chunks=tuple(self._chunks(path, tensors)),
            in_place=in_place or self._name == "save",
            guards_intact=all(memory.is_intact() for memory in self._memory.get(path, ())),
            is_meta=bool(tensors) and all(tensor.is_meta for tensor in tensors),
            on_accelerator=any(not (tensor.is_cpu or tensor.is_meta) for tensor in tensors),
        )

    def _chunks(self, path: Path, tensors: Sequence[torch.Tensor]) -> Iterator[ChunkState]:
        """The blocks that the local tensors hold, if they are of the shapes that the entry's layout gives them."""
        leaf = self._leaves.get(path)
        entry = leaf.entry if leaf is not None else None
        layout = entry.layout(self._name) if isinstance(entry, TensorEntry) else None
        parts = layout.parts(entry.shape, self._rank) if layout is not None and isinstance(entry, TensorEntry) else []
        if [part.sizes for part in parts] != [tuple(tensor.shape) for tensor in tensors]:
            parts = [Part(tuple(((0, extent),) for extent in tensor.shape)) for tensor in tensors]
        for part, tensor in zip(parts, tensors, strict=True):
            tensor = tensor.detach()
            if all(len(runs) == 1 for runs in part.runs):
                box = Box(tuple(runs[0][0] for runs in part.runs), tuple(tensor.shape))
                yield ChunkState(box.offsets, box.sizes, self._data(leaf, box, tensor))
                continue
            for box, start in part.boxes():
                block = tensor
                for dim, (offset, size) in enumerate(zip(start, box.sizes, strict=True)):
                    if size != tensor.shape[dim]:
                        block = block.narrow(dim, offset, size)
                yield ChunkState(box.offsets, box.sizes, self._data(leaf, box, block))

    def _data(self, leaf: Leaf | None, box: Box, tensor: torch.Tensor) -> bytes:
        """The bytes of a block, or its poison where they are arbitrary."""
        if tensor.is_meta:
            return b""
        data = tensor_bytes(tensor)
        layout = leaf.entry.layout(self._name) if leaf is not None else None
        if leaf is None or layout is None or layout.memory != "meta":
            return data
        if leaf.fqn in self._saved and not self._failed:
            return data
        assert isinstance(leaf.entry, TensorEntry)
        # All of it: what was in that memory before may be just what was saved.
        poison = poison_bytes(leaf.fqn, _as_saved(leaf.entry, self._saved.get(leaf.fqn)), box)
        return poison if len(poison) == len(data) else data


def _poison_object(entry: ObjectEntry) -> Any:
    return Instance(POISON_OBJECT) if entry.form == "instance" else POISON_OBJECT


def object_state(path: Path, value: Any) -> ObjectState:
    """A non-tensor object as data; one in a tuple may be a tensor, which is told by its bytes."""
    return ObjectState(path, type(value).__name__, _text(value, []))


def _text(value: Any, told: list[object]) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {tuple(value.shape)} {tensor_bytes(value).hex()}"
    if isinstance(value, list) or type(value) is tuple:
        inner = ", ".join(_text(each, told) for each in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if isinstance(value, dict):
        inner = ", ".join(f"{key!r}: {_text(each, told)}" for key, each in value.items())
        return f"{type(value).__name__}({inner})"
    return shown(value, told)


def _overwrite(value: Any) -> None:
    """Change what a tensor, an object or a container holds; in a container, objects that cannot change are replaced."""
    if isinstance(value, torch.Tensor):
        for local in local_tensors(value)[1]:
            if local.numel():
                storage: Any = local.detach().untyped_storage()
                storage.fill_(OVERWRITTEN)
    elif isinstance(value, dict | list | Stateful):
        holder: Any = value.entries if isinstance(value, Stateful) else value
        for key, inner in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
            _overwrite(inner)
            if not isinstance(inner, torch.Tensor | dict | list | Stateful):
                holder[key] = OVERWRITTEN_OBJECT
    elif type(value) is tuple:
        for inner in value:
            _overwrite(inner)
    else:
        change(value)


def _as_saved(entry: TensorEntry, saved: object) -> TensorEntry:
    """The entry whose bits the target is to get, so that poison differs from them everywhere; else the target's own."""
    if isinstance(saved, TensorEntry) and (saved.shape, saved.dtype) == (entry.shape, entry.dtype):
        return saved
    return entry


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Every leaf and container below ``value`` with its path, containers before what is in them; tuples are leaves."""
    if path:
        yield path, value
    holder = value.entries if isinstance(value, Stateful) else value
    inside: Any = ()
    if isinstance(holder, Mapping):
        inside = holder.items()
    elif isinstance(holder, list):
        inside = enumerate(holder)
    for key, inner in inside:
        yield from _walk(inner, (*path, key))


def _identity(value: Any) -> tuple[int, ...]:
    """Tells whether a tensor is still the same object with the same memory, and a container the same object."""
    if isinstance(value, torch.Tensor):
        return (id(value), *(local.data_ptr() for local in local_tensors(value)[1]))
    return (id(value),) if isinstance(value, dict | list | Stateful) else ()


def _module(tensors: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """A module that holds them: sharded tensors as attributes with torch's own hooks, the others as torch allows."""
    module = torch.nn.Module()
    module._register_state_dict_hook(sharded_tensor.state_dict_hook)
    module._register_load_state_dict_pre_hook(sharded_tensor.pre_load_state_dict_hook, True)
    for name, tensor in tensors.items():
        if isinstance(tensor, ShardedTensor):
            setattr(module, name, tensor)
        elif tensor.is_floating_point() or tensor.is_complex():
            module.register_parameter(name, torch.nn.Parameter(tensor))
        else:
            module.register_buffer(name, tensor)
    return module
