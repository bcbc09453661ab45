"""Bugs in saves without collectives, of which each rank has files and metadata of its own."""

from __future__ import annotations

from worlds import ChunkSharding, Fault, Operation, Plain, Scenario, TensorEntry

from ..bug import Bug, Change, Witness

__all__ = ["UNCOORDINATED"]

_A_SHARD_EACH = Witness(
    "round_trip",
    Scenario(
        entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1)), loaded=ChunkSharding(0, (0, 1))),),
        save=Operation(2, api="uncoordinated"),
        load=Operation(2),
    ),
)

UNCOORDINATED = (
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
        "own-metadata-in-place-of-the-whole",
        "a rank's own metadata written where those of the whole belong",
        (
            Change(
                "filesystem:_FileSystemWriter.finish",
                "metadata_path = self._get_metadata_path(self.rank)",
                "metadata_path = self._get_metadata_path()",
            ),
        ),
        _A_SHARD_EACH,
    ),
    Bug(
        "metadata-of-rank-0-for-all",
        "rank 0's own metadata read by every rank",
        (Change("state_dict_loader:_load_state_dict", "read_metadata(rank=distW.rank)", "read_metadata(rank=0)"),),
        _A_SHARD_EACH,
    ),
    Bug(
        "barrier-of-own-saves-in-the-world",
        "a barrier in the whole world, whatever the group",
        (Change("utils:_DistWrapper.barrier", "dist.barrier(group=self.group)", "dist.barrier()"),),
        Witness("round_trip", Scenario(save=Operation(api="uncoordinated", members=(1,)))),
    ),
    Bug(
        "async-save-with-collectives-whatever-it-is-told",
        "a save by async_save with collectives, whatever it is told",
        (
            Change(
                "_async_thread_executor:_ThreadBasedAsyncCheckpointExecutor.execute_save",
                "use_collectives=use_collectives",
                "use_collectives=True",
            ),
        ),
        Witness(
            "blame_at_save",
            Scenario(
                save=Operation(2, api="async uncoordinated"),
                load=Operation(2),
                faults=(Fault("save", 1, "planner.create_global_plan"),),
            ),
            known="uncoordinated-unprotected",
        ),
    ),
)
