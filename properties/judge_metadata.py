"""Judges a checkpoint's metadata: it names what was saved, tiles each tensor, and says truly where everything is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from worlds.outcome import ChunkRecord, FileRecord, MetadataRecord, Outcome, Returned, StorageRecord, TensorRecord
from worlds.scenario import Scenario
from worlds.storages import limits_of

from .verdict import Breach
from .violations import BadChunks, BadStorageIndex, Disagreement, MetadataUnreadable, MetadataWrong

__all__ = ["judge_metadata", "judge_metadata_record"]


def judge_metadata(scenario: Scenario, outcome: Outcome) -> Iterator[Breach]:
    """What is wrong with the metadata after a save that returned.

    Where the ranks did not coordinate there is none of the whole, and each rank returns what it saved itself; and there
    are storages that keep none.
    """
    if not scenario.save.coordinated or not limits_of(scenario.storage).metadata:
        return
    if outcome.metadata is None:
        error = outcome.metadata_error
        why = "" if error is None else f": {error.type}: {error.message}"
        yield Breach(MetadataUnreadable, f"metadata: cannot be read after a save that succeeded{why}", "save")
        return
    yield from judge_metadata_record(scenario, outcome.metadata)
    yield from _storage(outcome.metadata, outcome.files)
    for rank, seen in enumerate(outcome.save.ranks):
        if isinstance(seen, Returned) and seen.metadata is not None and seen.metadata != outcome.metadata:
            detail = (f"returned  {seen.metadata}", f"read      {outcome.metadata}")
            yield Breach(Disagreement, f"metadata: save() returned other metadata on rank {rank}", "save", detail)


def judge_metadata_record(scenario: Scenario, metadata: MetadataRecord) -> Iterator[Breach]:
    """What is wrong with what the metadata says of tensors and objects, wherever it comes from."""
    units = scenario.units("save")
    tensors = {record.fqn: record for record in metadata.tensors}
    entries = {unit.fqn: unit.tensor for unit in units if unit.tensor is not None}
    objects = sorted(unit.fqn for unit in units if unit.tensor is None)
    if sorted(tensors) != sorted(entries) or list(metadata.objects) != objects:
        said = f"tensors {sorted(tensors)} and objects {list(metadata.objects)}"
        saved = f"tensors {sorted(entries)} and objects {objects}"
        yield Breach(MetadataWrong, f"metadata: names {said}, and {saved} were saved", "save", fact="names")
        return
    for fqn, entry in sorted(entries.items()):
        record = tensors[fqn]
        if (record.dtype, record.shape) != (entry.dtype, entry.shape):
            said = f"{record.dtype} of shape {list(record.shape)}"
            saved = f"{entry.dtype} of shape {list(entry.shape)}"
            yield Breach(
                MetadataWrong, f"metadata: {fqn!r} is {said}, and {saved} was saved", "save", fact="dtype or shape"
            )
        yield from _tiles(record)


def _tiles(record: TensorRecord) -> Iterator[Breach]:
    detail = tuple(f"chunk     {list(chunk.offsets)} of size {list(chunk.sizes)}" for chunk in record.chunks[:16])
    start = f"metadata: the chunks of {record.fqn!r} do not tile its shape {list(record.shape)}"
    for chunk in record.chunks:
        if not _is_inside(chunk, record.shape):
            what = f"{list(chunk.offsets)} of size {list(chunk.sizes)} is outside"
            yield Breach(BadChunks, f"{start}: {what}", "save", detail, fact="outside")
            return
    for one, other in itertools.combinations(record.chunks, 2):
        if _overlap(one, other):
            what = f"{list(one.offsets)} and {list(other.offsets)} overlap"
            yield Breach(BadChunks, f"{start}: {what}", "save", detail, fact="overlap")
            return
    covered = sum(math.prod(chunk.sizes) for chunk in record.chunks)
    if covered != math.prod(record.shape) or not record.chunks:
        what = f"they have {covered} of {math.prod(record.shape)} elements"
        yield Breach(BadChunks, f"{start}: {what}", "save", detail, fact="not all elements")


def _is_inside(chunk: ChunkRecord, shape: Sequence[int]) -> bool:
    if not len(chunk.offsets) == len(chunk.sizes) == len(shape):
        return False
    return all(
        offset >= 0 and size >= 0 and offset + size <= extent
        for offset, size, extent in zip(chunk.offsets, chunk.sizes, shape, strict=True)
    )


def _overlap(one: ChunkRecord, other: ChunkRecord) -> bool:
    """Whether two chunks have an element in common; an empty one has none."""
    return all(
        max(a, b) < min(a + a_size, b + b_size)
        for a, a_size, b, b_size in zip(one.offsets, one.sizes, other.offsets, other.sizes, strict=True)
    )


def _storage(metadata: MetadataRecord, files: Sequence[FileRecord] | None) -> Iterator[Breach]:
    if not metadata.storage:  # a storage without such an index, unless something was saved into this one
        return
    wanted = {(record.fqn, chunk.offsets) for record in metadata.tensors for chunk in record.chunks}
    places = wanted | {(fqn, None) for fqn in metadata.objects}
    listed = {(record.fqn, record.offsets) for record in metadata.storage}
    for fqn, offsets in sorted(places - listed, key=str):
        what = repr(fqn) if offsets is None else f"the chunk of {fqn!r} at {list(offsets)}"
        headline = f"metadata: {what} has no entry in the storage's index"
        yield Breach(BadStorageIndex, headline, "save", fact="no entry")
    for fqn, offsets in sorted(listed - places, key=str):
        what = repr(fqn) if offsets is None else f"a chunk of {fqn!r} at {list(offsets)}"
        headline = f"metadata: the storage's index has {what}, which was not saved"
        yield Breach(BadStorageIndex, headline, "save", fact="too many")
    if files is not None:
        yield from _ranges(metadata.storage, {file.name: file.size for file in files})


def _ranges(storage: Sequence[StorageRecord], sizes: dict[str, int]) -> Iterator[Breach]:
    for record in storage:
        end = record.start + record.length
        if record.start < 0 or record.length < 0 or end > sizes.get(record.file, -1):
            file = (
                f"{record.file!r} of {sizes[record.file]} bytes" if record.file in sizes else f"no file {record.file!r}"
            )
            what = f"{record.fqn!r} is said to be at {record.start}-{end} of {file}"
            yield Breach(BadStorageIndex, f"metadata: {what}", "save", fact="not in the file")
    ordered = sorted(storage, key=lambda record: (record.file, record.start, record.length))
    for one, other in itertools.pairwise(ordered):
        if one.file == other.file and one.start + one.length > other.start:
            what = f"{one.fqn!r} and {other.fqn!r} overlap in {one.file!r}"
            yield Breach(BadStorageIndex, f"metadata: {what}", "save", fact="overlap")
