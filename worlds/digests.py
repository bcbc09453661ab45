"""What is in the files below a directory, to be compared."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["digests"]


def digests(directory: str) -> dict[str, str]:
    """The files below ``directory`` by their relative names, each with a digest of what it holds."""
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(directory))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
