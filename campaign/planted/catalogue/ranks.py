"""Bugs in what ranks tell each other, and in the steps of a save and a load."""

from __future__ import annotations

from worlds import ChunkSharding, Damage, Fault, Nested, ObjectEntry, Operation, Scenario, TensorEntry
from worlds.histories import History, Load, Save
from worlds.rebuilding import Rebuilding
from worlds.side_by_side import SideBySide
from worlds.windows import Window

from ..bug import Bug, Change, Witness

__all__ = ["RANKS"]

RANKS = (
    Bug(
        "only-first-failing-rank-kept",
        "only the first failing rank kept",
        (
            Change(
                "utils:_get_failure_dict",
                "return cast(",
                (
                    "return dict(list({i: err for i, err in enumerate(results) if "
                    "_is_wrapped_exception(err)}.items())[:1])\n"
                    "    return cast("
                ),
            ),
        ),
        Witness("refusal", Scenario(entries=(TensorEntry("a", saved=None),), load=Operation(2))),
    ),
    Bug(
        "coordinator-s-failure-booked-on-rank-0",
        "the coordinator's failure booked on rank 0",
        (Change("utils:_DistWrapper.all_reduce", "node_failures[self.rank]", "node_failures[0]"),),
        Witness(
            "blame_at_save",
            Scenario(save=Operation(2, coordinator=1, api="legacy"), faults=(Fault("save", 1, "writer.finish"),)),
        ),
    ),
    Bug(
        "finish-error-swallowed",
        "a finish error swallowed",
        (
            Change(
                "state_dict_saver:_save_state_dict",
                "storage_writer.finish(metadata=global_metadata, results=all_results)",
                (
                    "import contextlib\n"
                    "        with contextlib.suppress(BaseException):\n"
                    "            storage_writer.finish(metadata=global_metadata, results=all_results)"
                ),
            ),
        ),
        Witness("blame_at_save", Scenario(faults=(Fault("save", 0, "writer.finish"),))),
    ),
    Bug(
        "async-write-error-not-awaited",
        "an async write error not awaited",
        (
            Change(
                "state_dict_saver:_save_state_dict",
                ("all_writes.wait()\n        return all_writes.value()"),
                ("try:\n            return all_writes.value()\n        except BaseException:\n            return []"),
            ),
        ),
        Witness("blame_at_save", Scenario(faults=(Fault("save", 0, "writer.write_data", through="future"),))),
    ),
    Bug(
        "stateful-object-not-given-what-was-loaded",
        "a Stateful object not given what was loaded",
        (Change("state_dict_loader:load", "elem.load_state_dict(stateful_sd[key])", "pass"),),
        Witness("round_trip", Scenario(entries=(Nested("a", "stateful", (ObjectEntry("b"),)),))),
    ),
    Bug(
        "coordinator-of-sub-group-taken-for-rank-of-world",
        "the coordinator of a sub-group taken for a rank of the world",
        (Change("utils:_DistWrapper.__init__", "dist.get_global_rank(group, coordinator_rank)", "coordinator_rank"),),
        Witness("round_trip", Scenario(save=Operation(members=(1,)))),
        upstream="pytorch#136854",
    ),
    Bug(
        "rank-0-taken-for-coordinator-whoever-is",
        "rank 0 taken for the coordinator, whoever is",
        (
            Change(
                "utils:_DistWrapper.__init__",
                "self.is_coordinator = self.rank == coordinator_rank",
                "self.is_coordinator = self.rank == 0",
            ),
        ),
        Witness(
            "blame_at_load",
            Scenario(load=Operation(2, coordinator=1, api="legacy"), faults=(Fault("load", 1, "planner.finish_plan"),)),
        ),
    ),
    Bug(
        "one-key-taken-for-its-letters",
        "one key taken for its letters",
        (Change("state_dict_loader:_load_state_dict_from_keys", "keys = {keys}", "keys = set(keys)"),),
        Witness("rebuilding", Rebuilding(Scenario(entries=(TensorEntry("ab"),)), by="keys", keys=("ab",))),
    ),
    Bug(
        "upload-over-another-group-than-its-own",
        "an upload over another group than its own",
        (Change("state_dict_saver:_save_state_dict", "_DistWrapper(process_group,", "_DistWrapper(None,"),),
        Witness("round_trip", Scenario(save=Operation(members=(1,)))),
    ),
    Bug(
        "item-that-cannot-be-read-left-as-it-was",
        "an item that cannot be read left as it was",
        (
            Change(
                "state_dict_loader:_load_state_dict",
                "        all_reads = storage_reader.read_data(final_local_plan, planner)\n",
                (
                    "        try:\n"
                    "            all_reads = storage_reader.read_data(final_local_plan, planner)\n"
                    "        except (EOFError, RuntimeError):\n"
                    "            return None\n"
                ),
            ),
        ),
        Witness("damage", Scenario(entries=(TensorEntry("a"),), damages=(Damage("truncated"),))),
    ),
    Bug(
        "every-rank-named-whoever-could-not-read",
        "every rank named, whoever could not read",
        (
            Change(
                "utils:_get_failure_dict",
                "return cast(",
                (
                    "failed = {i: err for i, err in enumerate(results) if _is_wrapped_exception(err)}\n"
                    "    return {i: next(iter(failed.values())) for i in range(len(results))} if failed else {}\n"
                    "    return cast("
                ),
            ),
        ),
        Witness("blame_at_save", Scenario(save=Operation(2), faults=(Fault("save", 0, "planner.create_local_plan"),))),
    ),
    Bug(
        "objects-not-put-back",
        "objects at the top that are loaded and not put back",
        (Change("state_dict_loader:load", "state_dict[key] = stateful_sd[key]", "pass"),),
        Witness("round_trip", Scenario(entries=(ObjectEntry("a"),))),
        upstream="pytorch#125528",
    ),
    Bug(
        "scatter-from-rank-of-the-group",
        "a scatter from the coordinator's rank within the group",
        (Change("utils:_DistWrapper.scatter_object", "src=self.global_coordinator_rank", "src=self.coordinator_rank"),),
        Witness("round_trip", Scenario(save=Operation(members=(1,)))),
        upstream="pytorch#147675",
    ),
    Bug(
        "gather-to-rank-of-the-group",
        "a gather to the coordinator's rank within the group",
        (Change("utils:_DistWrapper.gather_object", "dst=self.global_coordinator_rank", "dst=self.coordinator_rank"),),
        Witness("round_trip", Scenario(save=Operation(members=(1,)))),
        upstream="pytorch#147675",
    ),
    Bug(
        "broadcast-from-rank-0",
        "a broadcast from rank 0, whoever is the coordinator",
        (Change("utils:_DistWrapper.broadcast_object", "src=self.global_coordinator_rank", "src=0"),),
        Witness("round_trip", Scenario(save=Operation(members=(1,)))),
    ),
    Bug(
        "broadcast-in-the-world",
        "a broadcast in the whole world, whatever the group",
        (Change("utils:_DistWrapper.broadcast_object", "group=self.group", "group=None"),),
        Witness(
            "side_by_side",
            SideBySide(
                Scenario(save=Operation(2, members=(0, 2)), load=Operation(members=(0,))),
                Scenario(save=Operation(2, members=(1, 3)), load=Operation(members=(1,))),
            ),
        ),
    ),
    Bug(
        "all-gather-in-the-world",
        "an all-gather in the whole world, whatever the group",
        (
            Change(
                "utils:_DistWrapper.all_gather_object",
                (
                    "dist.all_gather_object(\n"
                    "            object_list=gather_objs, obj=object, group=self.group\n"
                    "        )"
                ),
                ("dist.all_gather_object(\n            object_list=gather_objs, obj=object, group=None\n        )"),
            ),
        ),
        Witness("round_trip", Scenario(load=Operation(members=(1,)))),
    ),
    Bug(
        "world-size-of-the-world",
        "the size of the whole world taken for that of the group",
        (Change("utils:_DistWrapper.get_world_size", "dist.get_world_size(self.group)", "dist.get_world_size()"),),
        Witness(
            "blame_at_save",
            Scenario(save=Operation(members=(1,)), faults=(Fault("save", 0, "planner.create_local_plan"),)),
        ),
    ),
    Bug(
        "rank-in-the-world",
        "the rank in the whole world taken for that in the group",
        (Change("utils:_DistWrapper.__init__", "dist.get_rank(group)", "dist.get_rank()"),),
        Witness("round_trip", Scenario(save=Operation(members=(1,)))),
    ),
    Bug(
        "coordinators-plan-failure-on-rank-0",
        "the coordinator's failure to plan booked on rank 0",
        (Change("utils:_DistWrapper.reduce_scatter", "node_failures[self.rank]", "node_failures[0]"),),
        Witness(
            "blame_at_save",
            Scenario(
                save=Operation(2, coordinator=1, api="legacy"), faults=(Fault("save", 1, "planner.create_global_plan"),)
            ),
        ),
    ),
    Bug(
        "plan-failure-told-to-rank-0-alone",
        "a failure to plan that rank 0 alone is told of",
        (Change("utils:_DistWrapper.reduce_scatter", "] * self.get_world_size()", "] + list(all_data[1:])"),),
        Witness("refusal", Scenario(entries=(TensorEntry("a", saved=None),), load=Operation(2))),
    ),
    Bug(
        "one-failed-reader-forgiven",
        "one rank that cannot read forgiven",
        (Change("utils:_DistWrapper.all_gather", "if len(node_failures) > 0:", "if len(node_failures) > 1:"),),
        Witness("blame_at_load", Scenario(faults=(Fault("load", 0, "reader.read_data"),))),
    ),
    Bug(
        "one-failed-writer-forgiven",
        "one rank that cannot write forgiven",
        (Change("utils:_DistWrapper.all_reduce", "if len(node_failures) > 0:", "if len(node_failures) > 1:"),),
        Witness("blame_at_save", Scenario(faults=(Fault("save", 0, "writer.finish"),))),
    ),
    Bug(
        "failed-rank-plus-one",
        "the rank after the one that failed named",
        (Change("utils:_get_failure_dict", "enumerate(results)", "enumerate(results, 1)"),),
        Witness("refusal", Scenario(entries=(TensorEntry("a", saved=None),))),
    ),
    Bug(
        "interrupt-at-plan-not-told",
        "a KeyboardInterrupt in the plan that other ranks are not told of",
        (
            Change(
                "utils:_DistWrapper.reduce_scatter",
                ("except BaseException as e:\n        local_data"),
                ("except Exception as e:\n        local_data"),
            ),
        ),
        Witness(
            "blame_at_load",
            Scenario(
                entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1)), loaded=ChunkSharding(0, (0, 1))),),
                save=Operation(2),
                load=Operation(2),
                faults=(Fault("load", 1, "planner.set_up_planner", error="KeyboardInterrupt"),),
            ),
        ),
    ),
    Bug(
        "interrupt-at-write-not-told",
        "a KeyboardInterrupt in a write that other ranks are not told of",
        (
            Change(
                "utils:_DistWrapper.all_reduce",
                ("except BaseException as e:\n        local_data"),
                ("except Exception as e:\n        local_data"),
            ),
        ),
        Witness("blame_at_save", Scenario(faults=(Fault("save", 0, "writer.write_data", error="KeyboardInterrupt"),))),
    ),
    Bug(
        "interrupt-at-read-not-told",
        "a KeyboardInterrupt in a read that other ranks are not told of",
        (Change("utils:_DistWrapper.all_gather", "except BaseException as e:", "except Exception as e:"),),
        Witness(
            "blame_at_load",
            Scenario(
                entries=(TensorEntry("a"),),
                load=Operation(2),
                faults=(Fault("load", 1, "reader.read_data", error="KeyboardInterrupt"),),
            ),
        ),
    ),
    Bug(
        "finished-in-spite-of-a-failure",
        "a checkpoint finished although one rank could not write",
        (Change("utils:_DistWrapper.all_reduce", "if len(node_failures) == 0:", "if len(node_failures) <= 1:"),),
        Witness("blame_at_save", Scenario(faults=(Fault("save", 0, "writer.write_data"),))),
    ),
    Bug(
        "write-called-plan",
        "a failure to write said to be one to plan",
        (Change("state_dict_saver:_save_state_dict", 'distW.all_reduce("write"', 'distW.all_reduce("plan"'),),
        Witness("blame_at_save", Scenario(faults=(Fault("save", 0, "writer.finish"),))),
    ),
    Bug(
        "read-called-plan",
        "a failure to read said to be one to plan",
        (Change("state_dict_loader:_load_state_dict", 'distW.all_gather("read"', 'distW.all_gather("plan"'),),
        Witness("blame_at_load", Scenario(faults=(Fault("load", 0, "reader.read_data"),))),
    ),
    Bug(
        "reads-not-awaited",
        "reads that are not waited for",
        (Change("state_dict_loader:_load_state_dict", "all_reads.wait()", "pass"),),
        Witness("blame_at_load", Scenario(faults=(Fault("load", 0, "reader.read_data", through="future"),))),
    ),
    Bug(
        "read-plan-not-finished",
        "finish_plan not called at load",
        (
            Change(
                "state_dict_loader:_load_state_dict",
                "final_local_plan = planner.finish_plan(central_plan)",
                "final_local_plan = central_plan",
            ),
        ),
        Witness("blame_at_load", Scenario(faults=(Fault("load", 0, "planner.finish_plan"),))),
    ),
    Bug(
        "write-plan-not-finished",
        "finish_plan not called at save",
        (
            Change(
                "state_dict_saver:_save_state_dict",
                "final_local_plan = planner.finish_plan(central_plan)",
                "final_local_plan = central_plan",
            ),
        ),
        Witness("blame_at_save", Scenario(faults=(Fault("save", 0, "planner.finish_plan"),))),
    ),
    Bug(
        "results-of-first-rank-alone",
        "the results of the first rank's writes alone in the metadata",
        (Change("state_dict_saver:_save_state_dict", "results=all_results", "results=all_results[:1]"),),
        Witness(
            "metadata", Scenario(entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1))),), save=Operation(2))
        ),
    ),
    Bug(
        "save-plans-swapped",
        "plans that are given to the ranks in reverse order at save",
        (
            Change(
                "state_dict_saver:_save_state_dict",
                "all_local_plans = storage_writer.prepare_global_plan(all_local_plans)",
                "all_local_plans = storage_writer.prepare_global_plan(all_local_plans)[::-1]",
            ),
        ),
        Witness(
            "metadata", Scenario(entries=(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1))),), save=Operation(2))
        ),
    ),
    Bug(
        "load-plans-swapped",
        "plans that are given to the ranks in reverse order at load",
        (
            Change(
                "state_dict_loader:_load_state_dict",
                "all_local_plans = storage_reader.prepare_global_plan(all_local_plans)",
                "all_local_plans = storage_reader.prepare_global_plan(all_local_plans)[::-1]",
            ),
        ),
        Witness("windows", Window((2,), rows=(1, 1))),
    ),
    Bug(
        "stateful-saved-as-object",
        "a Stateful object saved instead of its state",
        (
            Change(
                "state_dict_saver:_stateful_to_state_dict",
                "return elem.state_dict() if isinstance(elem, Stateful) else elem",
                "return elem",
            ),
        ),
        Witness("round_trip", Scenario(entries=(Nested("a", "stateful", (TensorEntry("b"),)),))),
    ),
    Bug(
        "metadata-of-rank-0-for-all",
        "rank 0's own metadata read by every rank",
        (Change("state_dict_loader:_load_state_dict", "read_metadata(rank=distW.rank)", "read_metadata(rank=0)"),),
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
        "barrier-of-own-saves-in-the-world",
        "a barrier in the whole world, whatever the group",
        (Change("utils:_DistWrapper.barrier", "dist.barrier(group=self.group)", "dist.barrier()"),),
        Witness("round_trip", Scenario(save=Operation(api="uncoordinated", members=(1,)))),
    ),
    Bug(
        "upload-without-its-group",
        "an upload that has lost its process group",
        (Change("_async_thread_executor:save_wrapper", "process_group=process_group", "process_group=None"),),
        Witness("round_trip", Scenario(save=Operation(api="async", members=(1,)))),
    ),
    Bug(
        "upload-begun-before-staging",
        "staging that is said to be done before it is",
        (
            Change(
                "state_dict_saver:async_save",
                "        staging_future.add_done_callback(callback)",
                "        return_staging_future.set_result(None)",
            ),
        ),
        Witness(
            "histories",
            History(
                (TensorEntry("a"),),
                (
                    Save(operation=Operation(api="async", stager="background")),
                    Save("b", Operation(api="async", stager="background"), again=("stager",)),
                    Load("b"),
                ),
            ),
        ),
    ),
    Bug(
        "write-failure-raised-by-coordinator-alone",
        "a failure to write that the coordinator alone raises",
        (
            Change(
                "utils:_DistWrapper.all_reduce",
                "if isinstance(final_result, CheckpointException):",
                "if isinstance(final_result, CheckpointException) and self.is_coordinator:",
            ),
        ),
        Witness("blame_at_save", Scenario(save=Operation(2), faults=(Fault("save", 0, "writer.finish"),))),
    ),
    Bug(
        "metadata-returned-on-coordinator-alone",
        "metadata that save() returns on the coordinator alone",
        (
            Change(
                "state_dict_saver:_save_state_dict",
                "    return metadata",
                "    return metadata if distW.is_coordinator else None",
            ),
        ),
        Witness("metadata", Scenario((TensorEntry("a"),), save=Operation(2))),
    ),
)
