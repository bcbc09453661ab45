"""Does damage to a checkpoint in a directory, and tells what has become of each file."""

from __future__ import annotations

import dataclasses
import io
import itertools
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .damage import Damage
from .outcome import DamagedFile, MetadataRecord, StorageRecord
from .safetensors_files import SUFFIX as SAFETENSORS
from .safetensors_files import in_order

__all__ = ["METADATA", "damage_checkpoint", "older_path", "read_files"]

METADATA = ".metadata"
"""The file that holds the metadata of a checkpoint."""

_FILE_NAME = re.compile(rb"__\d+_\d+\.distcp")
_RANK = re.compile(r"(__|shard-)(\d+)")
"""How the name of a file with data begins: with the number of its rank, or of its shard."""
_LOCAL_HEADER = 30
"""How many bytes a zip file has before each of its files, besides the file's name and what is extra."""


def older_path(path: str) -> str:
    """Where the earlier save is, from which stale files come, of a checkpoint in the directory ``path``."""
    return f"{path}.older"


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint in a ``directory``, the names of whose files with data end so, and the places of what is in them."""

    directory: Path
    suffix: str
    places: tuple[StorageRecord, ...]

    def data_files(self) -> list[Path]:
        return sorted(file for file in self.directory.rglob(f"*{self.suffix}") if file.is_file())

    def file(self, damage: Damage, *, behind: int = 0) -> Path | None:
        if damage.metadata:
            file = self.directory / METADATA
            return file if file.exists() else None
        files = self.data_files()
        return files[(damage.file + behind) % len(files)] if files else None

    def name(self, file: Path) -> str:
        return str(file.relative_to(self.directory))


def damage_checkpoint(
    path: str, damages: Sequence[Damage], metadata: MetadataRecord | None, suffix: str | None
) -> tuple[DamagedFile, ...]:
    """Do all of that, in its order, to the checkpoint in the directory ``path``; which files are no longer as before.

    ``metadata`` says where everything is in the files, the names of which end with the ``suffix``.
    """
    if not damages or suffix is None:
        return ()
    directory = Path(path)
    if any(damage.metadata for damage in damages):
        for file in (directory / METADATA, Path(older_path(path), METADATA)):
            _forget_names(file)
    checkpoint = _Checkpoint(directory, suffix, () if metadata is None else metadata.storage)
    if suffix == SAFETENSORS:
        for file in (*checkpoint.data_files(), *Path(older_path(path)).rglob(f"*{suffix}")):
            file.write_bytes(in_order(file.read_bytes()))
    before = read_files(path)
    for damage in damages:
        _DO[damage.kind](checkpoint, damage)
    after = read_files(path)
    names = sorted(before.keys() | after.keys())
    return tuple(_compared(name, before, after.get(name)) for name in names if before.get(name) != after.get(name))


def read_files(path: str) -> dict[str, bytes]:
    """The files below the directory ``path``, by name, with what is in them."""
    directory = Path(path)
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def _forget_names(file: Path) -> None:
    """Write the metadata anew, without the directory's name and the save's id.

    They differ from run to run, which would put everything behind them elsewhere, and a load asks for neither.
    """
    if not file.exists():
        return
    metadata = pickle.loads(file.read_bytes())
    metadata.storage_meta = dataclasses.replace(metadata.storage_meta, checkpoint_id="checkpoint", save_id="save")
    file.write_bytes(pickle.dumps(metadata))


def _compared(name: str, all_before: Mapping[str, bytes], after: bytes | None) -> DamagedFile:
    before = all_before.get(name)
    sizes = (None if before is None else len(before), None if after is None else len(after))
    same = next((other for other, content in sorted(all_before.items()) if content == after), "")
    return DamagedFile(name, *sizes, tuple(_changes(before or b"", after or b"")), same)


def _changes(before: bytes, after: bytes) -> Iterator[tuple[int, int]]:
    """The runs of bytes that are not as they were, as far as there were any."""
    pairs = itertools.zip_longest(before, after[: len(before)])
    for differs, run in itertools.groupby(enumerate(pairs), key=lambda item: item[1][0] != item[1][1]):
        places = [place for place, _ in run]
        if differs:
            yield places[0], places[-1] + 1


def _flip(checkpoint: _Checkpoint, damage: Damage) -> None:
    file = checkpoint.file(damage)
    content = bytearray(b"" if file is None else file.read_bytes())
    if file is None or not content:
        return
    inside: list[int] = []
    if damage.inside and damage.metadata:
        inside = [at for name in _FILE_NAME.finditer(content) for at in range(*name.span())]
    elif damage.inside:
        here = checkpoint.name(file)
        inside = list(_elements(bytes(content), [place for place in checkpoint.places if place.file == here]))
    byte = inside[damage.byte % len(inside)] if inside else damage.byte % len(content)
    content[byte] ^= 1 << damage.bit
    file.write_bytes(content)


def _elements(content: bytes, places: Sequence[StorageRecord]) -> Iterator[int]:
    """Where in the file the elements of those tensors are, byte by byte."""
    for place in places:
        part = content[place.start : place.start + place.length]
        if place.file.endswith(SAFETENSORS):
            yield from range(place.start, min(place.start + place.length, len(content)))
        if place.offsets is None or not zipfile.is_zipfile(io.BytesIO(part)):
            continue
        for found in zipfile.ZipFile(io.BytesIO(part)).infolist():
            if "/data/" in found.filename:
                header = part[found.header_offset : found.header_offset + _LOCAL_HEADER]
                names = sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
                start = place.start + found.header_offset + _LOCAL_HEADER + names
                yield from range(start, start + found.file_size)


def _truncate(checkpoint: _Checkpoint, damage: Damage) -> None:
    file = checkpoint.file(damage)
    if file is not None and (content := file.read_bytes()):
        file.write_bytes(content[: damage.byte % len(content)])


def _remove(checkpoint: _Checkpoint, damage: Damage) -> None:
    file = checkpoint.file(damage)
    if file is not None:
        file.unlink()


def _swap(checkpoint: _Checkpoint, damage: Damage) -> None:
    one, other = (checkpoint.file(damage, behind=behind) for behind in (0, damage.other))
    if one is not None and other is not None:
        contents = other.read_bytes(), one.read_bytes()
        one.write_bytes(contents[0])
        other.write_bytes(contents[1])


def _make_stale(checkpoint: _Checkpoint, damage: Damage) -> None:
    file = checkpoint.file(damage)
    older = None if file is None else Path(older_path(str(checkpoint.directory)), checkpoint.name(file))
    if file is not None and older is not None and older.exists():
        file.write_bytes(older.read_bytes())


def _leave_over(checkpoint: _Checkpoint, damage: Damage) -> None:
    files = checkpoint.data_files()
    ranks = [int(found[2]) for file in files if (found := _RANK.match(file.name)) is not None]
    name, folder = f"__0_0{checkpoint.suffix}", checkpoint.directory
    for file in files:
        if _RANK.match(file.name) is not None:
            name, folder = file.name, file.parent
    number = max(ranks, default=-1) + 1 + damage.file
    content = files[0].read_bytes() if files else b""
    left = _RANK.sub(lambda found: f"{found[1]}{number:0{len(found[2])}}", name, count=1)
    (folder / left).write_bytes(content)


_DO: dict[str, Callable[[_Checkpoint, Damage], None]] = {
    "flipped": _flip,
    "truncated": _truncate,
    "missing": _remove,
    "swapped": _swap,
    "stale": _make_stale,
    "left over": _leave_over,
}
