"""What is in the files below a directory, to be compared."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .safetensors_files import SUFFIX, in_order

__all__ = ["digests"]


def digests(directory: str) -> dict[str, str]:
    """The files below ``directory`` by their relative names, each with a digest of what it holds."""
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(directory))] = hashlib.sha256(_content(path)).hexdigest()
    return found


def _content(path: Path) -> bytes:
    """What is in a file; of one of safetensors, in an order that is the same each time.

    Its header is in another order each time, and where it has an object before it, it cannot be told where that is.
    """
    content = path.read_bytes()
    if path.suffix != SUFFIX:
        return content
    try:
        return in_order(content)
    except (ValueError, TypeError):  # no header, where it should be
        return bytes(sorted(content))
