"""The processes of a script: their groups, which of them take part, and how they end."""

from __future__ import annotations

from typing import Protocol

from .plan import Name, Plan
from .ranks import rank_condition, rank_list
from .text import indented

__all__ = ["Job", "exit_helpers", "group_lines", "on_its_ranks", "set_up"]

_ALONE = 'dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)'
# Seen with torch 2.13, in one of ten runs whose last call raised: SIGABRT, "terminate called without an active
# exception", as a thread of gloo asks for the interpreter's lock while that ends.
_AT_EXIT = "atexit.register({})  # else gloo's threads may abort the exit"
_LEAVE = '''\
def leave():
    """Destroy the process group, and what an exception keeps of it."""
    dist.destroy_process_group()
    gc.collect()'''
# A ShardedTensor holds its group, and would go with the module, after gloo's threads.
_LET_GO = '''\
def leave():
    """Destroy the process group, and let go of the state dicts, whose tensors hold it."""
    globals().update(state_dict=None, loaded=None)
    dist.destroy_process_group()
    gc.collect()'''
# A traceback that was not caught keeps the group longer than that.
_LEAVE_AT_ONCE = '''\
def leave_at_once(kind, error, trace):
    """End with status 1, before gloo's threads may abort the exit."""
    sys.__excepthook__(kind, error, trace)
    sys.stdout.flush()
    os._exit(1)'''
_ON_ERROR = "sys.excepthook = leave_at_once"


class Job(Protocol):
    """What decides how the processes of a script begin and end; a :class:`Plan` says it of a scenario."""

    @property
    def ranks(self) -> int:
        """How many ranks the script needs."""

    @property
    def has_group(self) -> bool:
        """Whether the script needs a process group."""

    @property
    def leaves_group(self) -> bool:
        """Whether the script destroys its process group before it ends."""

    @property
    def compares_outcome(self) -> bool:
        """Whether the script catches what the last call raises."""

    @property
    def raises(self) -> bool:
        """Whether the last call may raise."""

    @property
    def holds_group(self) -> bool:
        """Whether what it saves or loads holds the process group, as a ``ShardedTensor`` does."""

    @property
    def hangs(self) -> bool:
        """Whether ranks wait for ever."""


def exit_helpers(plan: Job) -> list[str]:
    """The functions that end the process where something holds its group, or the last call may raise."""
    if not plan.has_group or plan.leaves_group:
        return []
    at_once = [_LEAVE_AT_ONCE] if plan.raises and not plan.compares_outcome else []
    if plan.holds_group:
        return [_LET_GO, *at_once]
    return [_LEAVE] if plan.compares_outcome else at_once


def _at_exit(plan: Job) -> list[str]:
    if plan.leaves_group:
        return []
    leave = "leave" if plan.compares_outcome or plan.holds_group else "dist.destroy_process_group"
    return [_AT_EXIT.format(leave), *([_ON_ERROR] if plan.raises and not plan.compares_outcome else [])]


def set_up(plan: Job) -> list[str]:
    """The process group, this process's rank, and the path of the checkpoint, which all ranks share."""
    at_exit = _at_exit(plan)
    if plan.ranks == 1:
        lines = [_ALONE, *at_exit] if plan.has_group else []
        return [*lines, "path = tempfile.mkdtemp()"]
    lines = ['dist.init_process_group("gloo")', *at_exit, "rank = dist.get_rank()"]
    if plan.hangs:
        lines.append("answered = dist.new_group()  # which is not disturbed by what save() and load() do")
    return [
        *lines,
        "paths = [tempfile.mkdtemp() if rank == 0 else None]",
        "dist.broadcast_object_list(paths)",
        "path = paths[0]",
    ]


def group_lines(plan: Plan, name: Name) -> list[str]:
    """The group of the ranks that save, or load, where not all of the job do; every rank must call this."""
    if not plan.has_subgroup(name):
        return []
    return [f"group = dist.new_group({rank_list(plan.members(name))})"]


def on_its_ranks(plan: Plan, name: Name, lines: list[str]) -> list[str]:
    """``lines``, run by the ranks that take part in the operation."""
    if plan.in_all_ranks(name) or not lines:
        return lines
    return [f"if {rank_condition('rank', plan.members(name))}:", *indented(lines)]
