"""Device meshes of a simulated rank: no rank takes another's for its own.

``DTensor`` keeps by mesh what it has found out: how to redistribute, for one, which depends on where in the mesh the
rank is, and a mesh itself, whose groups it then uses. A process has one place in a mesh, and its groups stay. So a mesh
of a simulated rank must not equal that of another rank, nor one of an earlier world whose groups had other names. torch
tells meshes of threads apart by the thread, in its own world of threads alone.
"""

from __future__ import annotations

import threading
from functools import wraps
from typing import Any

from torch.distributed.device_mesh import DeviceMesh

from ..patches import Patch
from .scheduler import current_task

__all__ = ["mesh_patches"]

_init = DeviceMesh.__init__
_eq = DeviceMesh.__eq__


@wraps(_init)
def _init_of_rank(mesh: Any, *args: Any, **options: Any) -> None:
    _init(mesh, *args, **options)
    if current_task() is not None:
        mesh._thread_id = threading.get_ident()
        mesh._hash = None


def _eq_of_rank(mesh: Any, other: object) -> bool:
    return _eq(mesh, other) and _group_names(mesh) == _group_names(other)


def _group_names(mesh: Any) -> Any:
    return getattr(mesh, "_dim_group_names", None)


def mesh_patches() -> list[Patch]:
    """What a running world replaces."""
    return [Patch(DeviceMesh, "__init__", _init_of_rank), Patch(DeviceMesh, "__eq__", _eq_of_rank)]
