"""Bugs of other storages than the file system, fsspec and files of safetensors, and of what is found by the path."""

from __future__ import annotations

from worlds import ChunkSharding, Damage, Fault, ObjectEntry, Operation, Scenario, TensorEntry, WriterOptions
from worlds.histories import History, Save
from worlds.storages import FORMATTED

from ..bug import Bug, Change, Witness

__all__ = ["STORAGES"]

_BY_PATH = Operation(named_by="path")
_OPEN_BY_FSSPEC = "with self.fs.open(path, mode) as stream:"
_OPEN_WHAT_IS_THERE = (
    'if "r" in mode and not self.fs.exists(path):\n        yield io.BytesIO()\n        return\n    ' + _OPEN_BY_FSSPEC
)

STORAGES = (
    Bug(
        "storage-that-fits-path-passed-over",
        "a storage that fits the path passed over",
        (
            Change(
                "_storage_utils:_storage_setup",
                "if target.validate_checkpoint_id(checkpoint_id)",
                "if not target.validate_checkpoint_id(checkpoint_id)",
            ),
        ),
        Witness("round_trip", Scenario(save=_BY_PATH)),
    ),
    Bug(
        "storage-alone-taken-for-none",
        "a storage that is given without a checkpoint_id taken for none",
        (Change("_storage_utils:_storage_setup", "if storage:", "if storage and checkpoint_id is not None:"),),
        Witness("round_trip", Scenario(load=Operation(named_by="storage"))),
    ),
    Bug(
        "save-by-storage-alone-goes-to-where-its-writer-was-made-for",
        "a save by the storage alone forgets the path of the call before, and goes to where its writer was made for",
        (
            Change(
                "_storage_utils:_storage_setup",
                "        if checkpoint_id is not None:\n            storage.reset(checkpoint_id)\n",
                "        first = vars(storage).setdefault('first', getattr(storage, 'path', None))\n"
                "        if checkpoint_id is not None or first is not None:\n"
                "            storage.reset(checkpoint_id or first)\n",
            ),
        ),
        Witness(
            "histories",
            History(
                (TensorEntry("a"),),
                (
                    Save(),
                    Save("b", again=("writer",)),
                    Save("b", Operation(named_by="storage"), again=("writer",)),
                ),
            ),
        ),
    ),
    Bug(
        "writer-asked-for-what-it-need-not-have",
        "a writer asked for its checkpoint_id, which a storage from elsewhere need not have",
        (
            Change(
                "state_dict_saver:_save_state_dict",
                'getattr(storage_writer, "checkpoint_id", None)',
                "storage_writer.checkpoint_id",
            ),
        ),
        Witness("round_trip_on_storages", Scenario(storage="bare")),
    ),
    Bug(
        "reader-given-what-it-does-not-take",
        "a reader given keyword arguments that it does not take",
        (
            Change(
                "state_dict_loader:_load_state_dict",
                '"kwargs"\n            in inspect.signature(storage_reader.set_up_storage_reader).parameters',
                "True",
            ),
        ),
        Witness("round_trip_on_storages", Scenario(storage="bare")),
    ),
    Bug(
        "url-read-by-writer",
        "a checkpoint on fsspec that is loaded by its path alone read by a writer",
        (
            Change(
                "_storage_utils:_storage_setup",
                "FsspecReader if reader else FsspecWriter",
                "FsspecWriter",
                until=(2, 15),
            ),
            Change(
                "_storage_utils:_storage_setup",
                "[FileSystemReader, FsspecReader]",
                "[FileSystemReader, FsspecWriter]",
                since=(2, 15),
            ),
        ),
        Witness("round_trip_on_storages", Scenario(load=Operation(named_by="path"), storage="memory")),
    ),
    Bug(
        "nothing-staged-by-stager-that-async-save-makes",
        "nothing staged by the stager that async_save makes",
        (
            Change(
                "state_dict_saver:async_save",
                "staging_future_or_state_dict = stage_state_dict()",
                "staging_future_or_state_dict = state_dict if owned_async_stager else stage_state_dict()",
            ),
        ),
        Witness(
            "round_trip",
            Scenario(entries=(TensorEntry("a"),), save=Operation(api="async", stager="default", named_by="path")),
        ),
    ),
    Bug(
        "object-measured-as-tensor-in-files-of-another-format",
        "an object measured as a tensor in files of another format",
        (Change("filesystem:_write_item", "data, io.BytesIO\n    ):", "data, bytes\n    ):"),),
        Witness("round_trip_on_storages", Scenario(entries=(ObjectEntry("a"),), storage=FORMATTED)),
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
        "path-is-taken-for-no-path",
        "a checkpoint that is named by a Path taken for none of the file system",
        (
            Change(
                "filesystem:FileSystem.validate_checkpoint_id",
                "if isinstance(checkpoint_id, Path):\n        return True",
                "if isinstance(checkpoint_id, Path):\n        return False",
            ),
        ),
        Witness("round_trip", Scenario(save=Operation(named_by="path", pathlike=True))),
    ),
    Bug(
        "last-name-of-each-safetensors-file-alone",
        "of the names that go to one file of safetensors, the last one written alone",
        (
            Change(
                "hf_storage:HuggingFaceStorageWriter._split_by_storage_plan",
                "buckets[idx].append(item)",
                "buckets[idx] = [item]",
            ),
        ),
        Witness(
            "round_trip_on_storages",
            Scenario(
                entries=(TensorEntry("a"), TensorEntry("b")),
                writer=WriterOptions(file_indices=(("a", 1), ("b", 1))),
                storage="safetensors",
            ),
        ),
    ),
    Bug(
        "parts-put-into-one-file-at-beginning-of-their-tensor",
        "parts put into one file at the beginning of their tensor",
        (Change("_consolidate_hf_safetensors:_write_sub_tensor_to_file_optimized", "idx + offset for", "idx for"),),
        Witness(
            "round_trip_on_storages",
            Scenario(
                entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1))),),
                save=Operation(2, api="legacy"),
                load=Operation(2),
                storage="consolidated",
            ),
        ),
    ),
    Bug(
        "file-of-safetensors-that-cannot-be-opened-passed-over",
        "a file of safetensors that cannot be opened passed over",
        (
            Change(
                "hf_storage:HuggingFaceStorageReader.read_metadata",
                "    for safetensor_file in safetensors_files:\n",
                "    def opens(file):\n"
                "        try:\n"
                "            return safe_open(file, framework='pt') is not None\n"
                "        except Exception:\n"
                "            return False\n"
                "    for safetensor_file in filter(opens, safetensors_files):\n",
            ),
        ),
        Witness(
            "damage",
            Scenario(entries=(TensorEntry("a", loaded=None),), damages=(Damage("truncated"),), storage="safetensors"),
        ),
    ),
    Bug(
        "file-of-safetensors-that-is-left-over-held-against-checkpoint",
        "a file of safetensors that is left over held against the checkpoint",
        (
            Change(
                "hf_storage:HuggingFaceStorageReader.read_metadata",
                "storage_data[metadata_index] = _HFStorageInfo(",
                "if 'shard-' in getattr(storage_data.get(metadata_index), 'relative_path', ''):\n"
                "                    if 'shard-' in safetensor_file:\n"
                "                        raise ValueError('files of another checkpoint')\n"
                "                storage_data[metadata_index] = _HFStorageInfo(",
            ),
        ),
        Witness(
            "damage",
            Scenario(entries=(TensorEntry("a"),), damages=(Damage("left over"),), storage="safetensors"),
        ),
    ),
    Bug(
        "file-that-fsspec-does-not-find-taken-for-empty-one",
        "a file that fsspec does not find taken for an empty one",
        (
            Change("_fsspec_filesystem:FileSystem.create_stream", _OPEN_BY_FSSPEC, _OPEN_WHAT_IS_THERE, until=(2, 15)),
            Change("fsspec_filesystem:_FileSystem.create_stream", _OPEN_BY_FSSPEC, _OPEN_WHAT_IS_THERE, since=(2, 15)),
        ),
        Witness("damage", Scenario(entries=(TensorEntry("a"),), damages=(Damage("missing"),), storage="fsspec")),
    ),
    Bug(
        "file-of-safetensors-that-is-there-not-written",
        "a file of safetensors that is there already not written over",
        (
            Change(
                "hf_storage:HuggingFaceStorageWriter.write_data",
                "        file_name = _gen_file_name(file_index, highest_index, shard_index)\n",
                (
                    "        file_name = _gen_file_name(file_index, highest_index, shard_index)\n"
                    "        if self.fs.exists(self.fs.concat_path(self.path, file_name)):\n"
                    "            continue\n"
                ),
            ),
        ),
        Witness("histories_on_storages", History((TensorEntry("a", (1,)),), (Save(), Save()), storage="safetensors")),
    ),
    Bug(
        "first-item-of-each-file-alone-read-by-threads",
        "of the items in a file of safetensors, the first one read alone where threads read",
        (
            Change(
                "hf_storage:HuggingFaceStorageReader.read_data",
                "file_queue.put((file_name, reqs))",
                "file_queue.put((file_name, reqs[:1]))",
            ),
        ),
        Witness(
            "round_trip_on_storages",
            Scenario(
                entries=tuple(TensorEntry(name, (2,), saved=ChunkSharding(0, (0, 1))) for name in ("a", "b")),
                save=Operation(2),
                storage="threaded",
            ),
        ),
    ),
    Bug(
        "whole-state-dict-without-its-last-file",
        "a state dict that one rank saves to several files of safetensors without the last of them",
        (
            Change(
                "hf_storage:HuggingFaceStorageWriter.write_data",
                "for file_index, write_items in buckets.items():",
                "for file_index, write_items in list(buckets.items())[: None if self.save_distributed else 1]:",
            ),
        ),
        Witness(
            "round_trip_on_storages",
            Scenario(
                entries=(TensorEntry("a", (1,)), TensorEntry("b", (1,))),
                writer=WriterOptions(file_indices=(("a", 1), ("b", 2))),
                storage="whole",
            ),
        ),
    ),
)
