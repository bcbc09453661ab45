"""A template for authors of storages, written into a folder of theirs: a storage, its test, and its job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .files import read_text, write_text
from .status import Refused

__all__ = ["write_template"]

_TEMPLATE = Path(__file__).parent / "template"
_FILES = {
    "my_storage.py": "my_storage.py",
    "test_my_storage.py": "test_my_storage.py",
    "storage.yml": ".github/workflows/storage.yml",
}
"""Where each goes, from where it is here."""


def write_template(directory: Path) -> Sequence[Path]:
    """Write the files and return their paths; raises :class:`Refused` where one is there already, and writes none."""
    paths = {name: directory / place for name, place in _FILES.items()}
    for path in paths.values():
        if path.exists():
            raise Refused(f"{path} is there already: name another directory")
    for name, path in paths.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"cannot make {path.parent}: {error.strerror}") from None
        write_text(path, read_text(_TEMPLATE / name))
    return [*paths.values()]
