"""Bugs in how files are written and read."""

from __future__ import annotations

from worlds import (
    ChunkSharding,
    Damage,
    Fault,
    FileFault,
    ObjectEntry,
    Operation,
    Plain,
    Scenario,
    Schedule,
    TensorEntry,
    WriterOptions,
)
from worlds.histories import History, Load, Save
from worlds.plans import Box, Item, Split
from worlds.rebuilding import Rebuilding
from worlds.windows import Window

from ..bug import Bug, Change, Witness

__all__ = ["FILES"]

FILES = (
    Bug(
        "dtype-cast-on-load",
        "a dtype cast on load",
        (
            Change(
                "filesystem:FileSystemReader.read_data",
                "target_tensor.copy_(tensor)",
                "target_tensor.copy_(tensor.half() if tensor.is_floating_point() else tensor)",
            ),
        ),
        Witness("windows", Window()),
    ),
    Bug(
        "tensor-saved-as-it-lies-in-memory",
        "a tensor saved as it lies in memory",
        (
            Change(
                "filesystem:_write_item",
                "torch.save(data, transform_to)",
                (
                    "whole = torch.empty(0, dtype=data.dtype).set_(data.untyped_storage())\n"
                    "            torch.save(whole[: data.numel()].view(data.shape), transform_to)"
                ),
            ),
        ),
        Witness("round_trip", Scenario(entries=(TensorEntry("a", (2, 2), saved=Plain(memory="transposed")),))),
    ),
    Bug(
        "conjugated-tensor-saved-without-being-it",
        "a conjugated tensor saved without being it",
        (
            Change(
                "filesystem:_write_item",
                "torch.save(data, transform_to)",
                "torch.save(data.conj() if data.is_conj() else data, transform_to)",
            ),
        ),
        Witness(
            "round_trip", Scenario(entries=(TensorEntry("a", dtype="complex64", saved=Plain(memory="conjugated")),))
        ),
    ),
    Bug(
        "copy-filled-where-target-has-gaps",
        "a copy filled where the target has gaps",
        (
            Change(
                "filesystem:FileSystemReader.read_data",
                "target_tensor.copy_(tensor)",
                "target_tensor.reshape(-1).copy_(tensor.reshape(-1))",
            ),
        ),
        Witness(
            "round_trip", Scenario(entries=(TensorEntry("a", (2, 3), dtype="int32", saved=ChunkSharding(1, (0, 0))),))
        ),
    ),
    Bug(
        "target-that-takes-part-in-gradient",
        "a target that takes part in a gradient",
        (
            Change(
                "filesystem:FileSystemReader.read_data",
                "planner.resolve_tensor(req).detach()",
                "planner.resolve_tensor(req)",
            ),
        ),
        Witness("round_trip", Scenario(entries=(TensorEntry("a", loaded=Plain(memory="gradient")),))),
    ),
    Bug(
        "last-byte-of-object-not-written",
        "the last byte of an object not written",
        (Change("filesystem:_write_item", "data.getbuffer()", "data.getbuffer()[:-1]"),),
        Witness("windows", Window()),
    ),
    Bug(
        "ranks-that-save-without-collectives-given-same-files",
        "ranks that save without collectives given the same files",
        (
            Change(
                "filesystem:_FileSystemWriter.prepare_local_plan",
                '_StoragePrefix(f"__{self.rank}_")',
                '_StoragePrefix("__0_")',
            ),
        ),
        Witness(
            "round_trip",
            Scenario(
                entries=(
                    TensorEntry("a", saved=Plain((0,)), loaded=Plain((0,))),
                    TensorEntry("b", saved=Plain((1,)), loaded=Plain((1,))),
                ),
                save=Operation(2, api="uncoordinated"),
                load=Operation(2),
            ),
        ),
    ),
    Bug(
        "items-that-are-to-have-file-each-given-same-one",
        "items that are to have a file each given the same one",
        (
            Change(
                "filesystem:_FileSystemWriter.write_data",
                "file_count += 1",
                "file_count += int(self.single_file_per_rank)",
            ),
        ),
        Witness(
            "round_trip",
            Scenario(
                entries=(ObjectEntry("a"), ObjectEntry("b")),
                save=Operation(schedule=Schedule(threads_first=True)),
                writer=WriterOptions(False),
            ),
        ),
    ),
    Bug(
        "results-of-writer-s-second-file-thrown-away",
        "the results of a writer's second file thrown away",
        (
            Change(
                "filesystem:_FileSystemWriter._write_data",
                "res += result_queue.get_nowait()",
                "res += result_queue.get_nowait() if not res or not threads else result_queue.get_nowait()[:0]",
            ),
        ),
        Witness(
            "round_trip", Scenario(entries=(TensorEntry("a"), TensorEntry("b")), writer=WriterOptions(thread_count=2))
        ),
    ),
    Bug(
        "writer-that-appends-to-older-file",
        "a writer that appends to an older file",
        (
            Change(
                "filesystem:FileSystem.create_stream",
                "path.open(mode)",
                "path.open('ab' if mode == 'wb' and path.suffix == '.distcp' else mode)",
            ),
        ),
        Witness("histories", History((TensorEntry("a"),), (Save(), Save()))),
    ),
    Bug(
        "reader-that-goes-on-with-metadata-that-it-has-read-before",
        "a reader that goes on with the metadata that it has read before",
        (
            Change(
                "filesystem:FileSystemReader.read_metadata",
                "return metadata",
                "return self.__dict__.setdefault('_metadata', metadata)",
            ),
        ),
        Witness(
            "histories",
            History(
                (TensorEntry("a"), TensorEntry("b")),
                (Save(without=("b",)), Load(without=("b",)), Save(), Load(again=("reader",))),
            ),
        ),
    ),
    Bug(
        "writer-that-goes-on-writing-where-it-has-written-before",
        "a writer that goes on writing where it has written before",
        (
            Change(
                "filesystem:_FileSystemWriter.reset",
                "self.path = self.fs.init_path(checkpoint_id)",
                "self.path = self.__dict__.setdefault('_first', self.fs.init_path(checkpoint_id))",
            ),
        ),
        Witness("histories", History((TensorEntry("a"),), (Save(), Save("b", again=("writer",))))),
    ),
    Bug(
        "overwrite-false-ignored",
        "overwrite=False ignored",
        (Change("filesystem:_FileSystemWriter.prepare_local_plan", "if self.overwrite:", "if True:"),),
        Witness("histories", History((TensorEntry("a"),), (Save(), Save(overwrite=False)))),
    ),
    Bug(
        "new-checkpoint-that-makes-room-by-one-beside-it",
        "a new checkpoint that makes room by the one beside it",
        (
            Change(
                "filesystem:_FileSystemWriter.finish",
                "metadata.version = CURRENT_DCP_VERSION",
                (
                    "metadata.version = CURRENT_DCP_VERSION\n"
                    "    for old in self.path.parent.glob('*/.metadata'):\n"
                    "        if old.parent != self.path:\n"
                    "            old.unlink()"
                ),
            ),
        ),
        Witness("round_trip_on_storages", Scenario(storage="fsspec")),
    ),
    Bug(
        "stream-of-fsspec-that-swallows-what-is-raised-as-it-is-read",
        "a stream of fsspec that swallows what is raised as it is read",
        (
            Change("_fsspec_filesystem:FileSystem.create_stream", "pass\n            raise", "pass", until=(2, 15)),
            Change("fsspec_filesystem:_FileSystem.create_stream", "pass\n            raise", "pass", since=(2, 15)),
        ),
        Witness(
            "blame_at_save_on_storages",
            Scenario(entries=(TensorEntry("a"),), faults=(Fault("save", 0, "planner.resolve_data"),), storage="fsspec"),
        ),
    ),
    Bug(
        "files-of-fsspec-that-share-name",
        "files of fsspec that share a name",
        (
            Change("_fsspec_filesystem:FileSystem.concat_path", "suffix)", 'suffix.replace("1", "0"))', until=(2, 15)),
            Change("fsspec_filesystem:_FileSystem.concat_path", "suffix)", 'suffix.replace("1", "0"))', since=(2, 15)),
        ),
        Witness("round_trip_on_storages", Scenario(entries=(TensorEntry("a"),), save=Operation(2), storage="fsspec")),
    ),
    Bug(
        "part-of-file-of-safetensors-read-from-its-beginning",
        "a part of a file of safetensors read from its beginning",
        (
            Change(
                "hf_storage:HuggingFaceStorageReader._process_read_request",
                "slice(offset, offset + length)",
                "slice(0, length)",
            ),
        ),
        Witness(
            "round_trip_on_storages",
            Scenario(
                entries=(TensorEntry("a", (2,), loaded=ChunkSharding(0, (0, 1))),),
                load=Operation(2),
                storage="safetensors",
            ),
        ),
    ),
    Bug(
        "one-file-of-safetensors-for-all-ranks",
        "one file of safetensors for all ranks",
        (
            Change(
                "hf_storage:HuggingFaceStorageWriter.prepare_global_plan",
                'storage_data["shard_index"] = i',
                'storage_data["shard_index"] = 1',
            ),
        ),
        Witness(
            "round_trip_on_storages",
            Scenario(entries=(TensorEntry("a"), TensorEntry("b")), save=Operation(2), storage="safetensors"),
        ),
    ),
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
        "last-item-of-plan-in-no-file",
        "the last item of a plan in no file",
        (
            Change(
                "filesystem:_split_by_size_and_type",
                "for i, wi in enumerate(bytes_w):",
                "for i, wi in enumerate(bytes_w[:bins]):",
            ),
        ),
        Witness("split", Split(2, (Item("a"), Item("b"), Item("c")))),
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
        "offset-zero-in-file",
        "every item said to be at the beginning of its file",
        (Change("filesystem:_write_item", ("storage_key,\n            offset,"), ("storage_key,\n            0,")),),
        Witness("windows", Window()),
    ),
    Bug(
        "length-from-beginning-of-file",
        "the length of an item counted from the beginning of its file",
        (Change("filesystem:_write_item", "length = stream.tell() - offset", "length = stream.tell()"),),
        Witness("windows", Window()),
    ),
    Bug(
        "item-of-the-one-before",
        "a result under the name of the item before it",
        (
            Change(
                "filesystem:_write_files_from_queue",
                "        result_queue.put(write_results)",
                (
                    "        indices = [result.index for result in write_results]\n"
                    "            result_queue.put([dataclasses.replace(result, index=index) for result, index "
                    "in zip(write_results, indices[-1:] + indices[:-1])])"
                ),
            ),
        ),
        Witness("windows", Window()),
    ),
    Bug(
        "one-file-named-for-all-threads",
        "all files of a rank recorded under the name of the first",
        (
            Change(
                "filesystem:_FileSystemWriter.write_data",
                "file_queue.put((path, file_name, bucket))",
                'file_queue.put((path, f"{storage_plan.prefix}0{DEFAULT_SUFFIX}", bucket))',
            ),
        ),
        Witness(
            "round_trip", Scenario(entries=(TensorEntry("a"), TensorEntry("b")), writer=WriterOptions(thread_count=2))
        ),
    ),
    Bug(
        "one-prefix-for-all-ranks",
        "the files of all ranks under the same names",
        (
            Change(
                "filesystem:_FileSystemWriter.prepare_global_plan",
                '_StoragePrefix(f"__{i}_")',
                '_StoragePrefix("__0_")',
            ),
        ),
        Witness("rebuilding", Rebuilding(Scenario(entries=(TensorEntry("a"),), save=Operation(2)))),
    ),
    Bug(
        "largest-tensor-dropped",
        "the largest tensor in no file, where there are several",
        (Change("filesystem:_split_by_size_and_type", "for wi in tensor_w:", "for wi in tensor_w[1:]:"),),
        Witness("split", Split(2, (Item(box=Box((0,), (1,)), shape=(1,)),))),
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
        "places-of-first-result-list-alone",
        "the places of the last rank's items left out of the metadata",
        (
            Change(
                "filesystem:_FileSystemWriter.finish",
                "for wr_list in results:",
                "for wr_list in results[: max(1, len(results) - 1)]:",
            ),
        ),
        Witness(
            "metadata", Scenario(entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1))),), save=Operation(2))
        ),
    ),
    Bug(
        "metadata-not-renamed",
        "metadata left under their temporary name",
        (Change("filesystem:_FileSystemWriter.finish", "self.fs.rename(tmp_path, metadata_path)", "pass"),),
        Witness("windows", Window()),
    ),
    Bug(
        "read-from-beginning-of-tensor",
        "a part of a tensor read from its beginning",
        (
            Change(
                "filesystem:FileSystemReader.read_data",
                "tensor, req.storage_offsets, req.lengths",
                "tensor, [0] * len(req.lengths), req.lengths",
            ),
        ),
        Witness("windows", Window((2,), offset=(1,))),
    ),
    Bug(
        "last-request-of-a-file-alone",
        "the last request of each file alone read",
        (
            Change(
                "filesystem:FileSystemReader.read_data",
                "per_file.setdefault(path, []).append(read_item)",
                "per_file[path] = [read_item]",
            ),
        ),
        Witness("windows", Window()),
    ),
    Bug(
        "second-file-not-read",
        "the first file alone read",
        (
            Change(
                "filesystem:FileSystemReader.read_data",
                "for relative_path, reqs in per_file.items():",
                "for relative_path, reqs in list(per_file.items())[:1]:",
            ),
        ),
        Witness(
            "metadata", Scenario(entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1))),), save=Operation(2))
        ),
    ),
    Bug(
        "tensors-not-committed",
        "tensors that are read and not committed",
        (Change("filesystem:FileSystemReader.read_data", "planner.commit_tensor(req, target_tensor)", "pass"),),
        Witness(
            "blame_at_load_on_storages",
            Scenario(
                entries=(TensorEntry("a"),), faults=(Fault("load", 0, "planner.commit_tensor"),), storage="fsspec"
            ),
        ),
    ),
    Bug(
        "reader-stays-where-it-was",
        "a reader that goes on reading where it has read before",
        (
            Change(
                "filesystem:FileSystemReader.reset",
                "self.path = self.fs.init_path(checkpoint_id)",
                "self.path = self.__dict__.setdefault('_first', self.fs.init_path(checkpoint_id))",
            ),
        ),
        Witness("histories", History((TensorEntry("a"),), (Save(), Save("b"), Load(), Load("b", again=("reader",))))),
    ),
    Bug(
        "own-metadata-in-place-of-the-whole",
        "a rank's own metadata written where those of the whole belong",
        (
            Change(
                "filesystem:_FileSystemWriter.finish",
                "metadata_path = self._get_metadata_path(self.rank)",
                "metadata_path = self._get_metadata_path()",
            ),
        ),
        Witness(
            "round_trip",
            Scenario(
                entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1)), loaded=ChunkSharding(0, (0, 1))),),
                save=Operation(2, api="uncoordinated"),
                load=Operation(2),
            ),
        ),
    ),
    Bug(
        "last-tensor-of-a-file-not-written",
        "the last of several tensors of a file not written",
        (
            Change(
                "filesystem:_SerialCpuLoader.values",
                "for _, obj in self.items:",
                "for _, obj in self.items[: max(1, len(self.items) - 1)]:",
            ),
        ),
        Witness("windows", Window()),
    ),
    Bug(
        "view-from-beginning-of-file",
        "a view of a file that begins where the file does",
        (Change("utils:_ReaderView.seek", "offset = self.offset + offset", "offset = offset"),),
        Witness("windows", Window()),
    ),
    Bug(
        "view-without-an-end",
        "a view of a file that ends where the file does",
        (Change("utils:_ReaderView.read", "if size == -1 or size > max_size:", "if False:"),),
        Witness("windows", Window()),
    ),
)
