"""Bugs in the steps of a save and a load."""

from __future__ import annotations

from worlds import ChunkSharding, Damage, Fault, Nested, ObjectEntry, Operation, Scenario, TensorEntry
from worlds.histories import History, Load, Save
from worlds.rebuilding import Rebuilding
from worlds.windows import Window

from ..bug import Bug, Change, Witness

__all__ = ["STEPS"]

_UPLOAD = Operation(api="async")
STEPS = (
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
        "objects-not-put-back",
        "objects at the top that are loaded and not put back",
        (Change("state_dict_loader:load", "state_dict[key] = stateful_sd[key]", "pass"),),
        Witness("round_trip", Scenario(entries=(ObjectEntry("a"),))),
        upstream="pytorch#125528",
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
    Bug(
        "staged-where-the-last-upload-was",
        "a state dict staged in the place of that of the upload before, whether or not it was written",
        (
            Change(
                "staging:BlockingAsyncStager.stage",
                "        return staged_state_dict",
                (
                    "        places = self.__class__.__dict__.get('places') or {}\n"
                    "        setattr(self.__class__, 'places', places)\n"
                    "        place = places.setdefault(dist.get_rank() if dist.is_initialized() else 0, {})\n"
                    "        place.clear()\n"
                    "        place.update(staged_state_dict)\n"
                    "        return place"
                ),
            ),
        ),
        Witness(
            "histories",
            History((TensorEntry("a"),), (Save(operation=_UPLOAD, overtaken=True), Save("b", _UPLOAD))),
        ),
    ),
)
