"""Bugs in how files are read."""

from __future__ import annotations

from worlds import ChunkSharding, Fault, ObjectEntry, Operation, Plain, Scenario, TensorEntry
from worlds.histories import History, Load, Save
from worlds.windows import Window

from ..bug import Bug, Change, Witness

__all__ = ["READS"]

READS = (
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
        Witness("round_trip", Scenario((TensorEntry("a"),))),
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
        Witness("round_trip", Scenario((TensorEntry("a"), TensorEntry("b")))),
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
        "view-from-beginning-of-file",
        "a view of a file that begins where the file does",
        (Change("utils:_ReaderView.seek", "offset = self.offset + offset", "offset = offset"),),
        Witness("round_trip", Scenario((TensorEntry("a"), TensorEntry("b")))),
    ),
    Bug(
        "view-without-an-end",
        "a view of a file that ends where the file does",
        (Change("utils:_ReaderView.read", "if size == -1 or size > max_size:", "if False:"),),
        Witness("round_trip", Scenario((TensorEntry("a"), ObjectEntry("b")))),
    ),
)
