"""Exceptions as data: the same text for the same failure, whatever the machine, path, address or torch version."""

from __future__ import annotations

import re
import traceback
from pathlib import PurePath

from .outcome import ErrorRecord

__all__ = ["MESSAGE_LIMIT", "error_origin", "record_error"]

MESSAGE_LIMIT = 1000
"""How many characters of a message are kept."""

_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


def record_error(error: BaseException, *, path: str = "") -> ErrorRecord:
    """The exception's qualified type (builtins without a prefix) and the head of its message.

    ``path``, the checkpoint's own, is written as ``<checkpoint>`` and an address in memory as ``0x…``, since both
    differ from run to run.
    """
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return ErrorRecord(name, _shorten(_message(error), path))


def error_origin(error: BaseException) -> str:
    """Where in torch, or else at all, the exception was raised: ``file:function``, without a line number.

    The innermost frame of torch tells one bug from another, and stays the same when lines move between versions.
    """
    frames = [
        (PurePath(frame.f_code.co_filename), frame.f_code.co_name)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    inside = [(path, name) for path, name in frames if "torch" in path.parts]
    if not inside and not frames:
        return ""
    path, name = (inside or frames)[-1]
    parts = path.parts
    if "torch" in parts:
        start = len(parts) - 1 - parts[::-1].index("torch")
        return f"{'/'.join(parts[start:])}:{name}"
    return f"{path.name}:{name}"


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
