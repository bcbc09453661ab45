"""Where the threads of this process stand: in a collective, in a wait without a time limit, or elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import PurePath
from types import FrameType
from typing import Any

import torch.distributed as dist

from ..frames import current_frames
from ..outcome import Waiting
from ..record import place_in_dcp
from .activity import tells_children
from .collectives import count_of, group_of, is_rendezvous
from .messages import DAEMON, Standing

__all__ = ["look_around"]

_C10D = ("distributed_c10d.py", "_functional_collectives.py")
_FORWARDING = ("_ops.py", "c10d_logger.py", "collectives.py")  # what stands between a collective and whoever calls it
_OPERATOR = ("_library", "autograd.py")  # as wait_tensor() goes to, where autograd is on
_STACK_LIMIT = 40
_SERVICES = ("multiprocessing", "resource_sharer.py")  # a thread of Python's that serves other processes, for ever
_EXECUTOR = ("concurrent", "futures", "thread.py")
_IN_DAEMON = ("_async_process_executor.py", "save")
"""Where DCP has a daemon save, and waits for it for ever; whether that is at work is seen apart.

Not where it starts one: daemons that find each other sleep between two attempts, for longer than is looked.
"""


def look_around(without: int) -> tuple[Standing, ...]:
    """Where each Python thread stands, but for the one whose identifier is ``without``."""
    frames = current_frames()
    main = threading.main_thread()
    threads = [main, *(thread for thread in threading.enumerate() if thread is not main)]
    return tuple(
        _standing(thread, frames[thread.ident], main=thread is main)
        for thread in threads
        if thread.ident in frames and thread.ident != without
    )


def _standing(thread: threading.Thread, innermost: FrameType, *, main: bool) -> Standing:
    frames = list(_outwards(innermost))
    called = _collective(frames)
    waits = _waiting(thread, called) if called is not None else _waits_without_limit(frames)
    place = tuple((id(frame), frame.f_lasti) for frame in frames[:8])
    inside = place_in_dcp((frame.f_code.co_filename, frame.f_code.co_name) for frame in reversed(frames))
    return Standing(thread.native_id or 0, main, waits, called is not None, place, _stack(frames), inside)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _collective(frames: list[FrameType]) -> FrameType | None:
    """The call of ``torch.distributed`` that the thread is in, as the caller named it; ``None`` if it is in none.

    An object collective calls others, so the outermost one of those that follow each other is meant.
    """
    called = None
    for frame in frames:
        if _is_c10d(frame):
            if is_rendezvous(frame.f_code.co_name):
                called = frame
        elif not _forwards(frame):
            break
    return called


def _is_c10d(frame: FrameType) -> bool:
    path = PurePath(frame.f_code.co_filename)
    return path.name in _C10D and "distributed" in path.parts


def _forwards(frame: FrameType) -> bool:
    path = PurePath(frame.f_code.co_filename)
    return path.name in _FORWARDING or path.parts[-2:] == _OPERATOR


def _waiting(thread: threading.Thread, frame: FrameType) -> Waiting:
    arguments = frame.f_locals
    name = frame.f_code.co_name
    if name == "broadcast_object_list":
        name += f" of {len(arguments['object_list'])}"
    root = next((arguments[key] for key in ("group_src", "group_dst") if arguments.get(key) is not None), None)
    if root is not None:
        name += f" with root {root}"
    group = group_of(arguments.get("group"))
    return Waiting(name, _ranks(group), count_of(thread.ident))


def _ranks(group: Any) -> tuple[int, ...]:
    try:
        return () if group is None else tuple(dist.get_process_group_ranks(group))
    except (KeyError, ValueError):  # it is being made, or has been given up, in another thread
        return ()


def _waits_without_limit(frames: list[FrameType]) -> Waiting | None:
    """What the thread waits for in Python's own threading; ``None`` if it may go on by itself."""
    frame = frames[0]
    path = PurePath(frame.f_code.co_filename)
    services = any(PurePath(frame.f_code.co_filename).parts[-2:] == _SERVICES for frame in frames)
    if services or path.parts[-3:] == _EXECUTOR:
        return Waiting("work for an idle thread")
    functions = ((PurePath(frame.f_code.co_filename).name, frame.f_code.co_name) for frame in frames)
    if _IN_DAEMON in functions and tells_children():
        return DAEMON
    if path.name not in ("threading.py", "queue.py"):
        return None
    # Each frame that waits with a time limit says so in a local variable.
    inner = [frame for frame in frames[:4] if PurePath(frame.f_code.co_filename).name in ("threading.py", "queue.py")]
    if any(frame.f_locals.get("timeout") not in (None, -1) for frame in inner):
        return None
    return Waiting(f"{inner[-1].f_code.co_name}() of a thread or lock")


def _stack(frames: list[FrameType]) -> str:
    """The stack, the innermost call last, from the first call of a collective's user on."""
    lines = [f"{_short(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}" for frame in frames]
    kept = [line for line in lines if not line.startswith(("worlds/processes/", "<frozen "))][:_STACK_LIMIT]
    return "\n".join(reversed(kept))


def _short(path: str) -> str:
    """A path from the package on, since what is before it is of this machine."""
    parts = PurePath(path).parts
    for start in ("torch", "worlds", "properties", "tests"):
        if start in parts[:-1]:
            return "/".join(parts[len(parts) - 1 - parts[::-1].index(start) :])
    return PurePath(path).name
