"""What is on the disk after a step of a history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .digests import digests
from .histories import StepOutcome
from .outcome import ErrorRecord, FileRecord, MetadataRecord, OperationOutcome
from .program import list_files, read_metadata
from .storages import lies_open

__all__ = ["OnDisk", "contents", "everything", "on_disk"]


@dataclass(frozen=True)
class OnDisk:
    """Everything that is there, and more of one checkpoint."""

    everything: Mapping[str, str]
    """A digest of each file of any checkpoint, each below the name of its checkpoint."""
    metadata: MetadataRecord | None
    metadata_error: ErrorRecord | None
    files: tuple[FileRecord, ...] | None
    contents: tuple[tuple[str, str], ...]

    def of(self, operation: OperationOutcome, before: Mapping[str, str]) -> StepOutcome:
        """What came of the step at that checkpoint, ``before`` which that was there."""
        after = self.everything
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return StepOutcome(
            operation, self.metadata, self.metadata_error, self.files, self.contents, changed=tuple(changed)
        )


def on_disk(directory: str, at: str, storage: str) -> OnDisk:
    """What is in the ``directory`` of all checkpoints, and at the checkpoint ``at``, all of them on that storage."""
    path = f"{directory}/{at}"
    metadata, error = read_metadata(path, storage)
    return OnDisk(everything(directory, storage), metadata, error, list_files(path, storage), contents(path, storage))


def everything(directory: str, storage: str) -> dict[str, str]:
    """The files of all checkpoints in the ``directory`` with their digests; none where they do not lie open."""
    return digests(directory) if lies_open(storage) else {}


def contents(path: str, storage: str) -> tuple[tuple[str, str], ...]:
    """The files of a checkpoint, as above: all but metadata, which say where they are."""
    return tuple(sorted(item for item in everything(path, storage).items() if ".metadata" not in item[0]))
