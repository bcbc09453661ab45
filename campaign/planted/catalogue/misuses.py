"""Bugs in how what cannot be given is refused."""

from __future__ import annotations

from worlds import Operation
from worlds.misuses import Misuse

from ..bug import Bug, Change, Witness

__all__ = ["MISUSES"]

_WHERE = "filesystem:_FileSystemWriter.prepare_local_plan"
_RAISE = "raise RuntimeError("

MISUSES = (
    Bug(
        "call-without-a-name-let-through",
        "a call that names no checkpoint is let through, and fails where it is asked for its storage",
        (
            Change(
                "_storage_utils:_storage_setup",
                "    if not checkpoint_id:\n        raise RuntimeError(",
                "    if not checkpoint_id:\n        return print(",
            ),
        ),
        Witness("misuse", Misuse()),
    ),
    Bug(
        "overwriting-refused-by-coordinator-alone",
        "overwriting is refused by the coordinator alone",
        (Change(_WHERE, "else:\n            raise", "elif self.rank == 0:\n            raise"),),
        Witness("misuse", Misuse("over a checkpoint", operation=Operation(2), over=True)),
    ),
    Bug(
        "metadata-removed-before-refusal",
        "the metadata of a checkpoint are removed, and then overwriting it is refused",
        (Change(_WHERE, _RAISE, f"self.fs.rm_file(self._get_metadata_path())\n            {_RAISE}"),),
        Witness("misuse", Misuse("over a checkpoint", over=True)),
    ),
)
