"""An accelerator that any machine has: a device of torch's, named ``pretend``, that is written in Python.

Its memory is the CPU's, in storages that say that they are of the device: DLPack hands the bytes from one to the other.
Views of them are torch's own, and any other operator is that of the CPU, on the same bytes. To torch it is a device
like any other, of the kind that vendors register (``PrivateUse1``): what reads its memory as the CPU's, or takes it for
that, fails here as it does there. Nothing on it is asynchronous, so that what is not waited for does not show.

To import this module registers it, once and for the whole process; run laws on it in a process of their own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

__all__ = ["NAME"]

NAME = "pretend"

_CPU, _EXTENSION = 1, 12  # DLPack's numbers of devices; the latter is what torch takes for PrivateUse1
_aten = torch.ops.aten
_KERNELS_OF_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class _Stream:
    """On which everything is done at once."""

    def synchronize(self) -> None:
        pass


class _Module:
    """What ``torch.pretend`` is, as DCP asks for it."""

    _stream = _Stream()

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def current_stream(self) -> _Stream:
        return self._stream

    def stream(self, _: _Stream) -> nullcontext[None]:
        return nullcontext()

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass


def _same_bytes(tensor: torch.Tensor, device: int) -> torch.Tensor:
    """A tensor of bytes on that device, by DLPack's number, with the memory of this one."""
    capsule = torch._C._to_dlpack(tensor)
    # A DLManagedTensor begins with the address of the data, and the device's type behind it.
    ctypes.c_int32.from_address(_pointer(capsule, b"dltensor") + 8).value = device
    shared: torch.Tensor = torch._C._from_dlpack(capsule)
    return shared


def _on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the CPU with the same elements in the same memory."""
    if tensor.device.type != NAME:
        return tensor
    storage = tensor.untyped_storage()
    seen = torch.empty(0, dtype=torch.uint8)
    if size := storage.nbytes():
        seen = torch.frombuffer((ctypes.c_uint8 * size).from_address(storage.data_ptr()), dtype=torch.uint8)
    place = (tensor.storage_offset(), tensor.shape, tensor.stride())
    found = torch.empty(0, dtype=tensor.dtype).set_(seen.untyped_storage(), *place)
    found = found.conj() if tensor.is_conj() else found
    return torch._neg_view(found) if tensor.is_neg() else found


def _empty_strided(size: Sequence[int], stride: Sequence[int], dtype: Any = None, **_: Any) -> torch.Tensor:
    dtype = dtype or torch.get_default_dtype()
    count = 0 if 0 in size else 1 + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True))
    memory = _same_bytes(torch.empty(count * dtype.itemsize, dtype=torch.uint8), _EXTENSION)
    return memory.view(dtype).as_strided(size, stride)


def _empty(size: Sequence[int], memory_format: Any = None, **options: Any) -> torch.Tensor:
    memory_format = memory_format or torch.contiguous_format
    return _empty_strided(size, torch.empty(size, device="meta", memory_format=memory_format).stride(), **options)


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    _on_cpu(target).copy_(_on_cpu(source))
    return target


def _to_copy(tensor: torch.Tensor, *, device: Any = None, non_blocking: bool = False, **options: Any) -> torch.Tensor:
    """As torch's own, which pins memory for what is not to block."""
    made: torch.Tensor = _aten._to_copy(_on_cpu(tensor), **options)
    if device is not None and torch.device(device).type != NAME:
        return made.to(device)
    return _copy_from(made, _empty_strided(made.shape, made.stride(), made.dtype))


def _local_scalar_dense(tensor: torch.Tensor) -> Any:
    return _on_cpu(tensor).item()


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | complex)


def _as_on_cpu(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """What the operator makes on the CPU of the same memory; what it makes anew, on the device."""
    given: list[tuple[torch.Tensor, torch.Tensor]] = []

    def down(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        given.append((value, _on_cpu(value)))
        return given[-1][1]

    def up(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        known = next((one for one, other in given if other is value), None)
        if known is not None and known.shape == value.shape:
            return known
        made = _copy_from(value, _empty_strided(value.shape, value.stride(), value.dtype))
        return made if known is None else _aten.set_.source_Tensor(known, made)  # which was given to be of any size

    # Where a number stands for a tensor, it comes as it is.
    taken = zip(operator._schema.arguments, args, strict=False)
    args = tuple(torch.tensor(arg) if str(of.type) == "Tensor" and _is_number(arg) else arg for of, arg in taken)
    args, kwargs = tree_map(down, (args, kwargs))
    if "device" in kwargs:
        kwargs["device"] = "cpu"
    return tree_map(up, operator(*args, **kwargs))


def _of_cpu(operator: Any) -> Callable[..., Any]:
    """The CPU's kernel, for what makes a view whatever the device."""
    return lambda *args, **kwargs: operator.redispatch(_KERNELS_OF_CPU, *args, **kwargs)


_OWN = {
    "empty.memory_format": _empty,
    "empty_strided": _empty_strided,
    "_copy_from": _copy_from,
    "_to_copy": _to_copy,
    "_local_scalar_dense": _local_scalar_dense,
}
_VIEWS = (
    _aten.alias.default,
    _aten.as_strided.default,
    _aten.view.default,
    _aten.view_as_real.default,
    _aten._reshape_alias.default,
    _aten.unfold.default,
    _aten.set_.source_Storage,
    _aten.set_.source_Storage_storage_offset,
    _aten.set_.source_Tensor,
)
_setup_privateuseone_for_python_backend(NAME, _Module())
_every = torch.library.Library("_", "IMPL")
_every.fallback(_as_on_cpu, "PrivateUse1")
_library = torch.library.Library("aten", "IMPL")
for _name, _function in _OWN.items():
    _library.impl(_name, _function, "PrivateUse1")
for _view in _VIEWS:
    _library.impl(_view, _of_cpu(_view), "PrivateUse1")
for _lazy in ("Conjugate", "Negative"):  # a copy does itself what these bits stand for
    _library.impl("_copy_from", torch.library.fallthrough_kernel, _lazy)
