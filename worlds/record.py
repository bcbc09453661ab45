"""Exceptions as data: the same text for the same failure, whatever the machine, path, address or torch version."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from pathlib import PurePath
from types import CodeType

from .outcome import ErrorRecord

__all__ = ["MESSAGE_LIMIT", "error_origin", "place_in_dcp", "record_error"]

MESSAGE_LIMIT = 1000
"""How many characters of a message are kept."""

_DCP = ("distributed", "checkpoint")
_THROUGH = ("utils.py", "logger.py")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


def record_error(error: BaseException, *, path: str = "", summary: traceback.StackSummary | None = None) -> ErrorRecord:
    """The exception's qualified type (builtins without a prefix) and the head of its message.

    ``path``, the checkpoint's own, is written as ``<checkpoint>`` and an address in memory as ``0x…``, since both
    differ from run to run. ``summary`` is the traceback of one that comes from another rank, without its own.
    """
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if summary is not None:
        frames = [(frame.filename, frame.name) for frame in summary]
    else:
        frames = [(code.co_filename, code.co_name) for code in _codes(error)]
    return ErrorRecord(name, _shorten(_message(error), path), place_in_dcp(frames))


def place_in_dcp(frames: Iterable[tuple[str, str]]) -> str:
    """The innermost of these frames, each a file and a function, that is DCP's; or else torch's; or else none.

    What all of DCP goes through, the wrapper of collectives and the log, says least, and is taken last.
    """
    inside = [(path, name) for path, name in ((PurePath(path), name) for path, name in frames) if "torch" in path.parts]
    of_dcp = [(path, name) for path, name in inside if _DCP in (path.parts[-3:-1], path.parts[-4:-2])]
    if not inside:
        return ""
    telling = [(path, name) for path, name in of_dcp if path.name not in _THROUGH]
    path, name = (telling or of_dcp or inside)[-1]
    return f"{_from_torch(path)}:{name}"


def error_origin(error: BaseException) -> str:
    """Where in torch, or else at all, the exception was raised: ``file:function``, without a line number.

    The innermost frame of torch tells one bug from another, and stays the same when lines move between versions.
    """
    frames = [(PurePath(code.co_filename), code.co_name) for code in _codes(error)]
    inside = [(path, name) for path, name in frames if "torch" in path.parts]
    if not inside and not frames:
        return ""
    path, name = (inside or frames)[-1]
    return f"{_from_torch(path) if 'torch' in path.parts else path.name}:{name}"


def _codes(error: BaseException) -> list[CodeType]:
    return [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]


def _from_torch(path: PurePath) -> str:
    parts = path.parts
    return "/".join(parts[len(parts) - 1 - parts[::-1].index("torch") :])


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:  # whatever a broken __str__ raises is not to end the run
        return f"<str() raised {type(second).__name__}: {second}>"


def _shorten(message: str, path: str) -> str:
    if path:
        message = message.replace(path, "<checkpoint>")
    length = len(message)
    message = _ADDRESS.sub("0x…", message[: 10 * MESSAGE_LIMIT])
    if len(message) > MESSAGE_LIMIT:
        message = f"{message[:MESSAGE_LIMIT]}… ({length} characters)"
    return message
