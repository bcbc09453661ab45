"""Does damage to a checkpoint in a directory, and tells what has become of each file."""

from __future__ import annotations

import dataclasses
import io
import itertools
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .damage import Damage
from .outcome import DamagedFile, MetadataRecord, StorageRecord

__all__ = ["METADATA", "damage_checkpoint", "older_path"]

METADATA = ".metadata"
"""The file that holds the metadata of a checkpoint."""

_SUFFIX = ".distcp"
_FILE_NAME = re.compile(rb"__\d+_\d+\.distcp")
_LOCAL_HEADER = 30
"""How many bytes a zip file has before each of its files, besides the file's name and what is extra."""


def older_path(path: str) -> str:
    """Where the earlier save is, from which stale files come, of a checkpoint in the directory ``path``."""
    return f"{path}.older"


def damage_checkpoint(path: str, damages: Sequence[Damage], metadata: MetadataRecord | None) -> tuple[DamagedFile, ...]:
    """Do all of that, in its order, to the checkpoint in the directory ``path``; which files are no longer as before.

    ``metadata`` says where everything is in the files.
    """
    if not damages:
        return ()
    directory = Path(path)
    if any(damage.metadata for damage in damages):
        for file in (directory / METADATA, Path(older_path(path), METADATA)):
            _forget_names(file)
    before = _contents(directory)
    places = () if metadata is None else metadata.storage
    for damage in damages:
        _DO[damage.kind](directory, damage, places)
    after = _contents(directory)
    names = sorted(before.keys() | after.keys())
    return tuple(
        _compared(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    )


def _forget_names(file: Path) -> None:
    """Write the metadata anew, without the directory's name and the save's id.

    They differ from run to run, which would put everything behind them elsewhere, and a load asks for neither.
    """
    if not file.exists():
        return
    metadata = pickle.loads(file.read_bytes())
    metadata.storage_meta = dataclasses.replace(metadata.storage_meta, checkpoint_id="checkpoint", save_id="save")
    file.write_bytes(pickle.dumps(metadata))


def _contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


def _compared(name: str, before: bytes | None, after: bytes | None) -> DamagedFile:
    sizes = (None if before is None else len(before), None if after is None else len(after))
    return DamagedFile(name, *sizes, tuple(_changes(before or b"", after or b"")))


def _changes(before: bytes, after: bytes) -> Iterator[tuple[int, int]]:
    """The runs of bytes that are not as they were, as far as there were any."""
    pairs = itertools.zip_longest(before, after[: len(before)])
    for differs, run in itertools.groupby(enumerate(pairs), key=lambda item: item[1][0] != item[1][1]):
        places = [place for place, _ in run]
        if differs:
            yield places[0], places[-1] + 1


def _data_files(directory: Path) -> list[Path]:
    return sorted(file for file in directory.iterdir() if file.name.endswith(_SUFFIX))


def _file(directory: Path, damage: Damage, *, behind: int = 0) -> Path | None:
    if damage.metadata:
        file = directory / METADATA
        return file if file.exists() else None
    files = _data_files(directory)
    return files[(damage.file + behind) % len(files)] if files else None


def _flip(directory: Path, damage: Damage, places: Sequence[StorageRecord]) -> None:
    file = _file(directory, damage)
    content = bytearray(b"" if file is None else file.read_bytes())
    if file is None or not content:
        return
    inside: list[int] = []
    if damage.inside and damage.metadata:
        inside = [at for name in _FILE_NAME.finditer(content) for at in range(*name.span())]
    elif damage.inside:
        inside = list(_elements(bytes(content), [place for place in places if place.file == file.name]))
    byte = inside[damage.byte % len(inside)] if inside else damage.byte % len(content)
    content[byte] ^= 1 << damage.bit
    file.write_bytes(content)


def _elements(content: bytes, places: Sequence[StorageRecord]) -> Iterator[int]:
    """Where in the file the elements of those tensors are, byte by byte."""
    for place in places:
        part = content[place.start : place.start + place.length]
        if place.offsets is None or not zipfile.is_zipfile(io.BytesIO(part)):
            continue
        for found in zipfile.ZipFile(io.BytesIO(part)).infolist():
            if "/data/" in found.filename:
                header = part[found.header_offset : found.header_offset + _LOCAL_HEADER]
                names = sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
                start = place.start + found.header_offset + _LOCAL_HEADER + names
                yield from range(start, start + found.file_size)


def _truncate(directory: Path, damage: Damage, places: Sequence[StorageRecord]) -> None:
    file = _file(directory, damage)
    if file is not None and (content := file.read_bytes()):
        file.write_bytes(content[: damage.byte % len(content)])


def _remove(directory: Path, damage: Damage, places: Sequence[StorageRecord]) -> None:
    file = _file(directory, damage)
    if file is not None:
        file.unlink()


def _swap(directory: Path, damage: Damage, places: Sequence[StorageRecord]) -> None:
    one, other = (_file(directory, damage, behind=behind) for behind in (0, damage.other))
    if one is not None and other is not None:
        contents = other.read_bytes(), one.read_bytes()
        one.write_bytes(contents[0])
        other.write_bytes(contents[1])


def _make_stale(directory: Path, damage: Damage, places: Sequence[StorageRecord]) -> None:
    file = _file(directory, damage)
    older = None if file is None else Path(older_path(str(directory)), file.name)
    if file is not None and older is not None and older.exists():
        file.write_bytes(older.read_bytes())


def _leave_over(directory: Path, damage: Damage, places: Sequence[StorageRecord]) -> None:
    files = _data_files(directory)
    ranks = [int(number) for file in files for number in re.findall(r"^__(\d+)_", file.name)]
    content = files[0].read_bytes() if files else b""
    (directory / f"__{max(ranks, default=-1) + 1 + damage.file}_0{_SUFFIX}").write_bytes(content)


_DO: dict[str, Callable[[Path, Damage, Sequence[StorageRecord]], None]] = {
    "flipped": _flip,
    "truncated": _truncate,
    "missing": _remove,
    "swapped": _swap,
    "stale": _make_stale,
    "left over": _leave_over,
}
