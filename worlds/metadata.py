"""The metadata of a checkpoint, as data."""

from __future__ import annotations

from collections.abc import Sequence

from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, MetadataIndex, TensorStorageMetadata

from .outcome import ChunkRecord, MetadataRecord, StorageRecord, TensorRecord

__all__ = ["record_metadata"]


def record_metadata(metadata: Metadata) -> MetadataRecord:
    """What ``metadata`` says of tensors, objects and, where the storage keeps an index of files, of their places."""
    tensors, objects = [], []
    for fqn, value in sorted(metadata.state_dict_metadata.items()):
        if isinstance(value, TensorStorageMetadata):
            tensors.append(_tensor(fqn, value))
        elif isinstance(value, BytesStorageMetadata):
            objects.append(fqn)
    return MetadataRecord(tuple(tensors), tuple(objects), _storage(metadata.storage_data))


def _tensor(fqn: str, value: TensorStorageMetadata) -> TensorRecord:
    chunks = sorted((tuple(chunk.offsets), tuple(chunk.sizes)) for chunk in value.chunks)
    dtype = str(value.properties.dtype).removeprefix("torch.")
    return TensorRecord(fqn, dtype, tuple(value.size), tuple(ChunkRecord(*chunk) for chunk in chunks))


def _storage(data: object) -> tuple[StorageRecord, ...]:
    if not isinstance(data, dict):
        return ()
    records = [_place(index, info) for index, info in data.items() if isinstance(index, MetadataIndex) and _says(info)]
    return tuple(sorted(records, key=lambda record: (record.fqn, record.offsets or (), record.file)))


_PLACE = ("relative_path", "offset", "length")


def _says(info: object) -> bool:
    """Whether it says a place in a file, as the storages of torch have it; others keep there what they like."""
    return all(hasattr(info, name) for name in _PLACE)


def _place(index: MetadataIndex, info: object) -> StorageRecord:
    offsets: Sequence[int] | None = index.offset
    file, start, length = (getattr(info, name) for name in _PLACE)
    return StorageRecord(index.fqn, None if offsets is None else tuple(offsets), file, start, length)
