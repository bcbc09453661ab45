"""Bugs in what is written, and into which file."""

from __future__ import annotations

from worlds import (
    ChunkSharding,
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
from worlds.histories import History, Save
from worlds.plans import Box, Item, Split
from worlds.rebuilding import Rebuilding

from ..bug import Bug, Change, Witness

__all__ = ["WRITES"]

WRITES = (
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
        "last-byte-of-object-not-written",
        "the last byte of an object not written",
        (Change("filesystem:_write_item", "data.getbuffer()", "data.getbuffer()[:-1]"),),
        Witness("round_trip", Scenario((ObjectEntry("a"),))),
    ),
    Bug(
        "extension-that-is-not-closed-before-the-next-item",
        "an extension that is not closed before the next item is written, and so has not written all of this one",
        (Change("filesystem:_write_item", "transform_to.close()", "transform_to.flush()"),),
        Witness("round_trip", Scenario(entries=(ObjectEntry("a"),), writer=WriterOptions(extensions=("deflated",)))),
    ),
    Bug(
        "extensions-not-in-the-metadata",
        "extensions that the metadata do not name",
        (
            Change(
                "filesystem:_write_item",
                "None if len(transform_descriptors) == 0 else transform_descriptors",
                "None",
            ),
        ),
        Witness("round_trip", Scenario(entries=(ObjectEntry("a"),), writer=WriterOptions(extensions=("inverted",)))),
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
        "offset-zero-in-file",
        "every item said to be at the beginning of its file",
        (Change("filesystem:_write_item", ("storage_key,\n            offset,"), ("storage_key,\n            0,")),),
        Witness("round_trip", Scenario((TensorEntry("a"), TensorEntry("b")))),
    ),
    Bug(
        "length-from-beginning-of-file",
        "the length of an item counted from the beginning of its file",
        (Change("filesystem:_write_item", "length = stream.tell() - offset", "length = stream.tell()"),),
        Witness("round_trip", Scenario((TensorEntry("a"), TensorEntry("b")))),
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
        Witness("round_trip", Scenario((TensorEntry("a"), TensorEntry("b")))),
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
        Witness("round_trip", Scenario((TensorEntry("a"),))),
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
        Witness("round_trip", Scenario((TensorEntry("a"), TensorEntry("b")))),
    ),
    Bug(
        "metadata-taken-away-before-it-is-known-whether-there-is-room",
        "metadata taken away before it is known whether there is room",
        (
            Change(
                "filesystem:_FileSystemWriter.prepare_local_plan",
                "self.fs.mkdir(self.path)",
                "if (self.path / '.metadata').exists() and self.overwrite and self.rank == 0:\n"
                "        (self.path / '.metadata').unlink()\n"
                "    self.fs.mkdir(self.path)",
            ),
        ),
        Witness(
            "histories",
            History((TensorEntry("a"),), (Save(), Save(faults=(Fault("save", 0, "planner.create_global_plan"),)))),
        ),
    ),
    Bug(
        "failure-to-remove-older-metadata-passed-over",
        "a failure to remove the older metadata passed over",
        (
            Change(
                "filesystem:_FileSystemWriter.finish",
                "self.fs.rm_file(metadata_path)",
                "try:\n            self.fs.rm_file(metadata_path)\n        except OSError:\n            pass",
            ),
        ),
        Witness(
            "histories",
            History((TensorEntry("a"),), (Save(), Save(file_faults=(FileFault("save", 0, "metadata.remove"),)))),
        ),
    ),
)
