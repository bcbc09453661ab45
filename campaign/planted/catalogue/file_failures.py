"""Bugs in what comes of an operation on a file that fails, and of files that are damaged, missing or left over."""

from __future__ import annotations

from worlds import Damage, FileFault, Scenario, TensorEntry, WriterOptions
from worlds.file_faults import UNWRITTEN

from ..bug import Bug, Change, Witness

__all__ = ["FILE_FAILURES"]

_BESIDE = "open(f'{path}.new' if 'w' in mode and self.fs.exists(path) else path, mode)"
_PASS, _RAISE = "pass\n            raise", "raise\n            raise"
FILE_FAILURES = (
    Bug(
        "fsync-that-fails-taken-for-one-that-is-not-supported",
        "an fsync that fails taken for one that is not supported",
        (
            Change(
                "filesystem:_write_files_from_queue",
                "except (AttributeError, UnsupportedOperation)",
                "except (AttributeError, OSError)",
            ),
        ),
        Witness(
            "file_operations",
            Scenario(writer=WriterOptions(sync_files=True), file_faults=(FileFault("save", 0, "data.fsync"),)),
        ),
    ),
    Bug(
        "short-write-unnoticed-without-buffer",
        "a short write unnoticed, without a buffer",
        (
            Change(
                "filesystem:FileSystem.create_stream",
                "with path.open(mode) as stream:",
                'with path.open(mode, 0 if "w" in mode else -1) as stream:',
            ),
        ),
        Witness("file_operations", Scenario(file_faults=(FileFault("save", 0, "metadata.write", "short"),))),
    ),
    Bug(
        "file-that-cannot-be-closed-taken-for-one-that-is-closed",
        "a file that cannot be closed taken for one that is closed",
        (
            Change(
                "filesystem:_write_files_from_queue",
                "                stream.close()\n",
                (
                    "                try:\n"
                    "                    stream.close()\n"
                    "                except OSError:\n"
                    "                    pass\n"
                ),
            ),
        ),
        Witness("file_operations", Scenario(file_faults=(FileFault("save", 0, "data.close"),))),
    ),
    Bug(
        "metadata-that-cannot-be-renamed-left-as-they-are",
        "metadata that cannot be renamed left as they are",
        (
            Change(
                "filesystem:_FileSystemWriter.finish",
                "    self.fs.rename(tmp_path, metadata_path)\n",
                ("    try:\n        self.fs.rename(tmp_path, metadata_path)\n    except OSError:\n        pass\n"),
            ),
        ),
        Witness("file_operations", Scenario(file_faults=(FileFault("save", 0, "metadata.rename"),))),
    ),
    Bug(
        "directory-that-cannot-be-made-taken-for-one-that-is-there",
        "a directory that cannot be made taken for one that is there",
        (
            Change(
                "filesystem:FileSystem.mkdir",
                "    path.mkdir(parents=True, exist_ok=True)\n",
                ("    try:\n        path.mkdir(parents=True, exist_ok=True)\n    except OSError:\n        pass\n"),
            ),
        ),
        Witness("file_operations", Scenario(file_faults=(FileFault("save", 0, "directory.mkdir"),))),
    ),
    Bug(
        "read-that-fails-taken-for-end-of-file",
        "a read that fails taken for the end of the file",
        (
            Change(
                "utils:_ReaderView.readinto",
                "    return self.base_stream.readinto(b)  # type: ignore[attr-defined]\n",
                ("    try:\n        return self.base_stream.readinto(b)\n    except OSError:\n        return 0\n"),
            ),
        ),
        Witness(
            "file_operations",
            Scenario(entries=(TensorEntry("a"),), file_faults=(FileFault("load", 0, "data.read", skip=1),)),
        ),
    ),
    Bug(
        "older-file-read-where-newer-one-is-missing",
        "an older file read where the newer one is missing",
        (
            Change(
                "filesystem:FileSystem.create_stream",
                "with path.open(mode) as stream:",
                (
                    'older = Path(f"{path.parent}.older", path.name)\n'
                    '    path = older if "r" in mode and older.exists() and not path.exists() else path\n'
                    "    with path.open(mode) as stream:"
                ),
            ),
        ),
        Witness("damage", Scenario(entries=(TensorEntry("a"),), damages=(Damage("stale"), Damage("missing")))),
    ),
    Bug(
        "missing-file-taken-for-empty-one",
        "a missing file taken for an empty one",
        (
            Change(
                "filesystem:FileSystem.create_stream",
                "with path.open(mode) as stream:",
                (
                    'if "r" in mode and not path.exists():\n'
                    "        yield io.BytesIO()\n"
                    "        return\n"
                    "    with path.open(mode) as stream:"
                ),
            ),
        ),
        Witness("damage", Scenario(entries=(TensorEntry("a"),), damages=(Damage("missing"),))),
    ),
    Bug(
        "file-that-is-left-over-held-against-checkpoint",
        "a file that is left over held against the checkpoint",
        (
            Change(
                "filesystem:FileSystemReader.read_metadata",
                "return metadata",
                (
                    "known = {info.relative_path for info in metadata.storage_data.values()}\n"
                    '    files = [file for file in self.path.iterdir() if file.suffix == ".distcp" and '
                    "file.stat().st_size]\n"
                    "    if len(files) > len(known):\n"
                    '        raise ValueError("files of another checkpoint")\n'
                    "    return metadata"
                ),
            ),
        ),
        Witness("round_trip_on_storages", Scenario(storage="fsspec")),
    ),
    Bug(
        "metadata-that-cannot-be-read-taken-for-metadata-of-nothing",
        "metadata that cannot be read taken for metadata of nothing",
        (
            Change(
                "filesystem:FileSystemReader.read_metadata",
                "metadata = pickle.load(metadata_file)",
                (
                    "try:\n"
                    "            metadata = pickle.load(metadata_file)\n"
                    "        except (EOFError, pickle.UnpicklingError):\n"
                    "            metadata = Metadata({}, storage_data={})"
                ),
            ),
        ),
        Witness("damage", Scenario(damages=(Damage("truncated", metadata=True),))),
    ),
    Bug(
        "fsync-unsupported-at-finish",
        "an fsync that a file does not support taken for a failure, at finish",
        (
            Change(
                "filesystem:_FileSystemWriter.finish",
                "except (AttributeError, UnsupportedOperation):",
                "except AttributeError:",
                until=(2, 15),
            ),
            Change(
                "filesystem:_FileSystemWriter.finish",
                "except (AttributeError, UnsupportedOperation) as e:",
                "except AttributeError as e:",
                since=(2, 15),
            ),
        ),
        Witness("round_trip_on_storages", Scenario(storage="memory")),
        upstream="pytorch#144752",
    ),
    Bug(
        "fsync-unsupported-at-write",
        "an fsync that a file does not support taken for a failure, at write",
        (
            Change(
                "filesystem:_write_files_from_queue",
                "except (AttributeError, UnsupportedOperation):",
                "except AttributeError:",
                until=(2, 15),
            ),
            Change(
                "filesystem:_write_files_from_queue",
                "except (AttributeError, UnsupportedOperation) as e:",
                "except AttributeError as e:",
                since=(2, 15),
            ),
        ),
        Witness("round_trip_on_storages", Scenario(storage="memory")),
        upstream="pytorch#119287",
    ),
    Bug(
        "data-not-synced",
        "files that are to be synced and are not",
        (Change("filesystem:_write_files_from_queue", "os.fsync(stream.fileno())", "stream.flush()"),),
        Witness(
            "file_operations",
            Scenario(writer=WriterOptions(sync_files=True), file_faults=(FileFault("save", 0, "data.fsync"),)),
        ),
    ),
    Bug(
        "metadata-not-synced",
        "metadata that are to be synced and are not",
        (Change("filesystem:_FileSystemWriter.finish", "os.fsync(metadata_file.fileno())", "metadata_file.flush()"),),
        Witness(
            "file_operations",
            Scenario(writer=WriterOptions(sync_files=True), file_faults=(FileFault("save", 0, "metadata.fsync"),)),
        ),
    ),
    Bug(
        "file-of-fsspec-that-is-there-not-written",
        "a file of fsspec that is there already not written over",
        (
            Change("_fsspec_filesystem:FileSystem.create_stream", "open(path, mode)", _BESIDE, until=(2, 15)),
            Change("fsspec_filesystem:_FileSystem.create_stream", "open(path, mode)", _BESIDE, since=(2, 15)),
        ),
        Witness("file_operations", Scenario(entries=(TensorEntry("a"),), earlier="coordinated", storage="fsspec")),
    ),
    Bug(
        "what-could-not-be-removed-blamed-for-what-could-not-be-written",
        "on fsspec, that a file could not be removed told in the place of why it could not be written",
        (
            Change("_fsspec_filesystem:FileSystem.create_stream", _PASS, _RAISE, until=(2, 15)),
            Change("fsspec_filesystem:_FileSystem.create_stream", _PASS, _RAISE, since=(2, 15)),
        ),
        Witness(
            "file_operations",
            Scenario(
                file_faults=(FileFault("save", 0, "data.close"), FileFault("save", 0, UNWRITTEN)),
                storage="fsspec",
            ),
        ),
    ),
)
