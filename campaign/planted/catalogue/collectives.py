"""Bugs in what ranks tell each other, within which group, and in who is named."""

from __future__ import annotations

from worlds import ChunkSharding, Fault, Operation, Scenario, TensorEntry
from worlds.side_by_side import SideBySide

from ..bug import Bug, Change, Witness

__all__ = ["COLLECTIVES"]

COLLECTIVES = (
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
)
