"""The object collectives of ``torch.distributed`` on a simulated group: pickled bytes change hands, and no tensors.

DCP spends its communication in these four. torch's versions pad tensors and call several collectives for each; here the
bytes go straight to the exchange, with the same validation, the same pickling, and the same ranks waiting for the same
ranks as with gloo: a root goes on as soon as it has sent, and a gather begins with an all-gather of sizes, so that all
wait for all. Whatever is unusual (another group, a rank outside it, wrong arguments) is left to torch's own.
"""

from __future__ import annotations

import pickle
from functools import wraps
from typing import Any

import torch.distributed as dist
from torch.distributed import distributed_c10d as c10d

from ..patches import Patch
from .groups import SimulatedGroup

__all__ = ["object_collective_patches"]


_WRONG_LIST = (
    "ProcessGroupGloo::scatter: Incorrect input list size {given}. "
    "Input list size should be {size}, same as size of the process group."
)

_torch_all_gather_object = c10d.all_gather_object
_torch_gather_object = c10d.gather_object
_torch_broadcast_object_list = c10d.broadcast_object_list
_torch_scatter_object_list = c10d.scatter_object_list


@wraps(_torch_all_gather_object)
def _all_gather_object(object_list: list[Any], obj: Any, group: Any = None, **options: Any) -> None:
    simulated = _simulated(group)
    if simulated is None or len(object_list) != simulated.size() or any(options.values()):
        _torch_all_gather_object(object_list, obj, group, **options)
        return
    arrival = simulated.meet("all_gather_object", pickle.dumps(obj))
    for rank, data in enumerate(arrival.wait_for_all().in_order()):
        object_list[rank] = pickle.loads(data)


@wraps(_torch_gather_object)
def _gather_object(
    obj: Any,
    object_gather_list: list[Any] | None = None,
    dst: int | None = None,
    group: Any = None,
    group_dst: int | None = None,
    **options: Any,
) -> None:
    simulated = _simulated(group)
    root = None if simulated is None else _root(simulated, dst, group_dst)
    if dst is not None and root is None and simulated is dist.group.WORLD:  # of which torch asks for no rank's number
        raise RuntimeError(f"ProcessGroupGloo::gather: invalid root rank: {dst}")
    if simulated is None or root is None or any(options.values()) or not _fits(simulated, root, object_gather_list):
        _torch_gather_object(obj, object_gather_list, dst, group, group_dst, **options)
        return
    meeting = simulated.meet(f"gather_object with root {root}", pickle.dumps(obj)).wait_for_all()
    if object_gather_list is not None:
        for rank, data in enumerate(meeting.in_order()):
            object_gather_list[rank] = pickle.loads(data)


@wraps(_torch_broadcast_object_list)
def _broadcast_object_list(
    object_list: list[Any],
    src: int | None = None,
    group: Any = None,
    device: Any = None,
    group_src: int | None = None,
    **options: Any,
) -> None:
    simulated = _simulated(group)
    root = None if simulated is None else _root(simulated, src, group_src)
    if simulated is None or root is None or any(options.values()):
        _torch_broadcast_object_list(object_list, src, group, device, group_src, **options)
        return
    kind = f"broadcast_object_list of {len(object_list)} with root {root}"
    if simulated.rank() == root:
        simulated.meet(kind, [pickle.dumps(item) for item in object_list])
        return
    meeting = simulated.meet(kind, None).wait_for(root)
    for index, data in enumerate(meeting.brought[root]):
        object_list[index] = pickle.loads(data)


@wraps(_torch_scatter_object_list)
def _scatter_object_list(
    scatter_object_output_list: list[Any],
    scatter_object_input_list: list[Any] | None = None,
    src: int | None = None,
    group: Any = None,
    group_src: int | None = None,
    **options: Any,
) -> None:
    simulated = _simulated(group)
    root = None if simulated is None else _root(simulated, src, group_src)
    if simulated is None or root is None or any(options.values()) or not scatter_object_output_list:
        _torch_scatter_object_list(
            scatter_object_output_list, scatter_object_input_list, src, group, group_src, **options
        )
        return
    kind = f"scatter_object_list with root {root}"
    if simulated.rank() != root:
        meeting = simulated.meet(kind, None).wait_for(root)
        scatter_object_output_list[0] = pickle.loads(meeting.brought[root][simulated.rank()])
        return
    if scatter_object_input_list is None:
        raise ValueError("Expected argument scatter_object_input_list to be a list of size equal to group size")
    if len(scatter_object_input_list) != simulated.size():
        raise RuntimeError(_WRONG_LIST.format(given=len(scatter_object_input_list), size=simulated.size()))
    pickled = _pickle_each(scatter_object_input_list)
    simulated.meet(kind, pickled)
    scatter_object_output_list[0] = pickle.loads(pickled[root])


def object_collective_patches() -> list[Patch]:
    """What a running world replaces, in both modules that have these names."""
    return [
        Patch(module, replacement.__name__, replacement)
        for replacement in (_all_gather_object, _gather_object, _broadcast_object_list, _scatter_object_list)
        for module in (c10d, dist)
    ]


def _simulated(group: Any) -> SimulatedGroup | None:
    group = dist.group.WORLD if group is None else group
    return group if isinstance(group, SimulatedGroup) else None


def _root(group: SimulatedGroup, root: int | None, group_root: int | None) -> int | None:
    """The root as a rank within the group; ``None`` where torch's own should say what is wrong."""
    if group_root is not None:
        return group_root if root is None and 0 <= group_root < group.size() else None
    ranks = group.ranks()
    root = 0 if root is None else root
    return ranks.index(root) if root in ranks else None


def _fits(group: SimulatedGroup, root: int, gathered: list[Any] | None) -> bool:
    if group.rank() == root:
        return gathered is not None and len(gathered) == group.size()
    return not gathered


def _pickle_each(objects: list[Any]) -> list[bytes]:
    """Pickle each object by itself, but one that is there many times only once: a failure goes to all ranks alike."""
    done: dict[int, bytes] = {}
    for item in objects:
        if id(item) not in done:
            done[id(item)] = pickle.dumps(item)
    return [done[id(item)] for item in objects]
