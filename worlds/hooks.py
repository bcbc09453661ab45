"""The hooks at which a fault can be placed: each method of storage, planner and stateful object that DCP calls.

Order, phase and role follow ``torch.distributed.checkpoint.state_dict_saver`` and ``state_dict_loader`` of torch 2.13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["HOOKS", "Hook"]


@dataclass(frozen=True)
class Hook:
    """One hook of one operation.

    ``phase`` is the first argument of the ``CheckpointException`` that reports a failure there, ``None`` where DCP
    protects nothing, before all phases or, where ``last``, behind them; ``role`` says which ranks call it; ``step``
    orders the hooks of one phase and role (equal steps: in the order of the items); ``per_item`` is true where a rank
    calls it once for each item that it writes or reads, and so not at all without one; ``future`` is true where it
    returns a future.
    """

    owner: Literal["storage", "planner", "stateful"]
    method: str
    phase: Literal["plan", "write", "read"] | None
    role: Literal["rank", "coordinator"]
    step: int
    per_item: bool = False
    future: bool = False
    last: bool = False


_SAVE = {
    "writer.reset": Hook("storage", "reset", None, "rank", 0),
    "stateful.state_dict": Hook("stateful", "state_dict", None, "rank", 1, per_item=True),
    "writer.storage_meta": Hook("storage", "storage_meta", "plan", "rank", 1),
    "planner.set_up_planner": Hook("planner", "set_up_planner", "plan", "rank", 2),
    "writer.set_up_storage_writer": Hook("storage", "set_up_storage_writer", "plan", "rank", 3),
    "planner.create_local_plan": Hook("planner", "create_local_plan", "plan", "rank", 4),
    "writer.prepare_local_plan": Hook("storage", "prepare_local_plan", "plan", "rank", 5),
    "planner.create_global_plan": Hook("planner", "create_global_plan", "plan", "coordinator", 1),
    "writer.prepare_global_plan": Hook("storage", "prepare_global_plan", "plan", "coordinator", 2),
    "planner.finish_plan": Hook("planner", "finish_plan", "write", "rank", 1),
    "writer.write_data": Hook("storage", "write_data", "write", "rank", 2, future=True),
    "planner.resolve_data": Hook("planner", "resolve_data", "write", "rank", 3, per_item=True),
    "writer.finish": Hook("storage", "finish", "write", "coordinator", 1),
}
_LOAD = {
    "reader.reset": Hook("storage", "reset", None, "rank", 0),
    "stateful.state_dict": Hook("stateful", "state_dict", None, "rank", 1, per_item=True),
    "reader.read_metadata": Hook("storage", "read_metadata", "plan", "rank", 1),
    "planner.set_up_planner": Hook("planner", "set_up_planner", "plan", "rank", 2),
    "reader.set_up_storage_reader": Hook("storage", "set_up_storage_reader", "plan", "rank", 3),
    "planner.create_local_plan": Hook("planner", "create_local_plan", "plan", "rank", 4),
    "reader.prepare_local_plan": Hook("storage", "prepare_local_plan", "plan", "rank", 5),
    "planner.create_global_plan": Hook("planner", "create_global_plan", "plan", "coordinator", 1),
    "reader.prepare_global_plan": Hook("storage", "prepare_global_plan", "plan", "coordinator", 2),
    "planner.finish_plan": Hook("planner", "finish_plan", "read", "rank", 1),
    "reader.read_data": Hook("storage", "read_data", "read", "rank", 2, future=True),
    "planner.load_bytes": Hook("planner", "load_bytes", "read", "rank", 3, per_item=True),
    "planner.resolve_tensor": Hook("planner", "resolve_tensor", "read", "rank", 3, per_item=True),
    "planner.commit_tensor": Hook("planner", "commit_tensor", "read", "rank", 3, per_item=True),
    "stateful.load_state_dict": Hook("stateful", "load_state_dict", None, "rank", 1, per_item=True, last=True),
}

HOOKS: dict[tuple[str, str], Hook] = {
    **{("save", name): hook for name, hook in _SAVE.items()},
    **{("load", name): hook for name, hook in _LOAD.items()},
}
