"""What files of safetensors say that is in them: their format alone, without torch and without the package.

A file is eight bytes with the length of the header, the header as JSON, and the bytes of the tensors. DCP puts under
``__metadata__`` which part of a tensor each one is (``DCP_SHARDING_INFO``); a file of whole tensors lacks that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from .outcome import ChunkRecord, MetadataRecord, StorageRecord, TensorRecord

__all__ = ["SUFFIX", "in_order", "places_in"]

SUFFIX = ".safetensors"
_LENGTH = 8
_METADATA = "__metadata__"


def places_in(files: Mapping[str, bytes]) -> MetadataRecord:
    """The tensors in whole files, by name, with the chunks and the place of each, as metadata of their own have them.

    Only of those in the checkpoint's own directory, which are all that a reader looks at.
    """
    found = [item for name, content in sorted(files.items()) if _is_read(name) for item in _tensors_in(name, content)]
    chunks: dict[str, list[ChunkRecord]] = {}
    dtypes: dict[str, str] = {}
    for record, chunk, dtype in found:
        chunks.setdefault(record.fqn, []).append(chunk)
        dtypes[record.fqn] = dtype
    tensors = (TensorRecord(fqn, dtypes[fqn], _shape(its), tuple(its)) for fqn, its in sorted(chunks.items()))
    return MetadataRecord(tuple(tensors), (), tuple(record for record, _, _ in found))


def in_order(content: bytes) -> bytes:
    """The file with what is under ``__metadata__`` in the order of its keys.

    The package leaves it in another one each time, which would put everything behind it elsewhere; and nobody asks.
    """
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    header = json.loads(content[_LENGTH:end])
    if _METADATA not in header:
        return content
    header = {**header, _METADATA: dict(sorted(header[_METADATA].items()))}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:_LENGTH] + text.ljust(end - _LENGTH) + content[end:]


def _is_read(name: str) -> bool:
    return name.endswith(SUFFIX) and "/" not in name


def _tensors_in(name: str, content: bytes) -> Iterator[tuple[StorageRecord, ChunkRecord, str]]:
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    header = json.loads(content[_LENGTH:end])
    parts = json.loads(header.pop(_METADATA, {}).get("DCP_SHARDING_INFO", "{}"))
    for fqn, says in header.items():
        offsets = tuple(parts[fqn]["saved_offsets"]) if fqn in parts else (0,) * len(says["shape"])
        first, last = says["data_offsets"]
        yield (
            StorageRecord(fqn, offsets, name, end + first, last - first),
            ChunkRecord(offsets, tuple(says["shape"])),
            says["dtype"],
        )


def _shape(chunks: list[ChunkRecord]) -> tuple[int, ...]:
    ends = (tuple(offset + size for offset, size in zip(chunk.offsets, chunk.sizes, strict=True)) for chunk in chunks)
    return tuple(map(max, zip(*ends, strict=True)))
