"""Bugs in how state dicts are taken apart, put together, staged and converted."""

from __future__ import annotations

from worlds import ObjectEntry, Operation, Plain, Scenario, TensorEntry
from worlds.histories import History, Load, Save
from worlds.plans import Leaf, NestedState
from worlds.rebuilding import Rebuilding
from worlds.routes import Route
from worlds.windows import Window

from ..bug import Bug, Change, Witness

__all__ = ["STATES"]

STATES = (
    Bug(
        "defaultstager-that-copies-nothing",
        "a DefaultStager that copies nothing",
        (
            Change(
                "staging:DefaultStager._stage",
                "self._state_dict_stager.stage(state_dict, non_blocking=False)",
                "state_dict",
            ),
        ),
        Witness("round_trip", Scenario(entries=(TensorEntry("a"),), save=Operation(api="async", stager="shared"))),
    ),
    Bug(
        "writer-that-stages-what-is-on-cpu-already-without-copy",
        "a writer that stages what is on the CPU already without a copy",
        (Change("staging:BlockingAsyncStager.stage", "return staged_state_dict", "return state_dict"),),
        Witness("round_trip", Scenario(entries=(TensorEntry("a"),), save=Operation(api="async"))),
        upstream="pytorch#144657",
    ),
    Bug(
        "conversion-that-drops-what-is-no-tensor",
        "a conversion that drops what is no tensor",
        (
            Change(
                "format_utils:torch_save_to_dcp",
                "state_dict, storage_writer",
                "{k: v for k, v in state_dict.items() if torch.is_tensor(v)}, storage_writer",
            ),
        ),
        Witness("rebuilding", Rebuilding(Scenario(entries=(ObjectEntry("a"),)), by="there_and_back")),
    ),
    Bug(
        "file-that-is-read-as-one-of-weights-only",
        "a file that is read as one of weights only",
        (Change("format_utils:torch_save_to_dcp", "weights_only=False", "weights_only=True"),),
        Witness(
            "routes", Route(Scenario(entries=(ObjectEntry("a", form="instance"),), save=Operation(distributed=False)))
        ),
    ),
    Bug(
        "broadcast-that-only-coordinator-takes-over",
        "a broadcast that only the coordinator takes over",
        (
            Change(
                "format_utils:BroadcastingTorchSaveReader.read_data",
                "target_tensor.copy_(tensor)",
                "self.is_coordinator and target_tensor.copy_(tensor)",
            ),
        ),
        Witness(
            "routes",
            Route(
                Scenario(entries=(TensorEntry("a"),), save=Operation(distributed=False), load=Operation(2)),
                by="broadcast",
            ),
        ),
    ),
    Bug(
        "window-looked-for-of-every-sharded-tensor",
        "a window looked for of each sharded tensor where there is one of any",
        (
            Change(
                "optimizer:_ReaderWithOffset.create_local_plan",
                "if fqn not in self.fqn_to_offset:",
                "if not self.fqn_to_offset:",
            ),
        ),
        Witness("windows", Window()),
    ),
    Bug(
        "window-that-is-read-from-beginning",
        "a window that is read from the beginning",
        (
            Change(
                "optimizer:_ReaderWithOffset.create_local_plan",
                "_element_wise_add(original_shard.metadata.shard_offsets, offset)",
                "original_shard.metadata.shard_offsets",
            ),
        ),
        Witness("windows", Window((2,), offset=(1,))),
    ),
    Bug(
        "two-names-that-meet-and-one-of-them-lost",
        "two names that meet, and one of them lost",
        (
            Change(
                "_nested_dict:flatten_state_dict",
                "if new_fqn in flattened:",
                "if new_fqn in flattened and len(path) == 1:",
            ),
        ),
        Witness("flatten", NestedState({"a.b": None, "a": {"b": None}})),
    ),
    Bug(
        "stager-closed-by-staging",
        "a stager that is closed when it has staged once",
        (
            Change(
                "staging:DefaultStager._stage",
                "    return state_dict",
                ("    self._state_dict_stager.close()\n    return state_dict"),
            ),
        ),
        Witness(
            "histories",
            History(
                (TensorEntry("a"),),
                (
                    Save(operation=Operation(api="async", stager="shared")),
                    Save("b", Operation(api="async", stager="shared"), again=("stager",)),
                ),
            ),
        ),
        upstream="pytorch#183413",
    ),
    Bug(
        "every-list-element-the-first",
        "the path of a key in a list that is its first element",
        (Change("_traverse:traverse_state_dict", "_traverse_obj(path + (i,), v)", "_traverse_obj(path + (0,), v)"),),
        Witness("flatten_sharded_tensors", NestedState({"a": [Leaf(), Leaf()]})),
    ),
    Bug(
        "flat-name-with-another-separator",
        "names that are joined by an underscore",
        (Change("_nested_dict:flatten_state_dict", '".".join(map(str, path))', '"_".join(map(str, path))'),),
        Witness("flatten", NestedState({"a": {"a.b": Leaf(3)}})),
    ),
    Bug(
        "unflattened-at-the-top",
        "what is unflattened put at the top",
        (Change("_nested_dict:unflatten_state_dict", "mapping[key], value", "mapping[key][-1:], value"),),
        Witness("flatten", NestedState({"a": {"a.b": Leaf(3)}})),
    ),
    Bug(
        "staged-memory-not-copied-again",
        "what was staged once not copied again",
        (
            Change(
                "_state_dict_stager:StateDictStager._stage_untyped_storage",
                "cached_storage.copy_(storage, non_blocking=non_blocking)",
                "pass",
            ),
        ),
        Witness(
            "histories",
            History(
                (TensorEntry("a"),),
                (
                    Save(operation=Operation(api="async", stager="shared")),
                    Save("b", Operation(api="async", stager="shared"), again=("stager", "tensors")),
                    Load("b"),
                ),
            ),
        ),
    ),
    Bug(
        "staged-from-beginning-of-memory",
        "a tensor staged from where its memory begins",
        (
            Change(
                "_state_dict_stager:StateDictStager._offload_tensor",
                "y.set_(copied_storage, x.storage_offset(), x.size(), x.stride())",
                "y.set_(copied_storage, 0, x.size(), x.stride())",
            ),
        ),
        Witness(
            "round_trip",
            Scenario(
                entries=(TensorEntry("a", (2,), saved=Plain(memory="window")),),
                save=Operation(api="async", stager="shared"),
            ),
        ),
    ),
    Bug(
        "staged-as-contiguous",
        "a tensor staged as if it were contiguous",
        (Change("_state_dict_stager:StateDictStager._offload_tensor", "x.size(), x.stride())", "x.size())"),),
        Witness(
            "round_trip",
            Scenario(
                entries=(TensorEntry("a", (2,), saved=Plain(memory="strided")),),
                save=Operation(api="async", stager="shared"),
            ),
        ),
    ),
)
