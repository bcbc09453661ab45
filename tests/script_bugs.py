"""One bug to plant in torch for each kind of violation, with a scenario that shows it, for a script to show in turn."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from campaign.planted.plant import planted
from properties.violations import (
    BadChunks,
    BadStorageIndex,
    ChangedInput,
    ChangedOutside,
    Deadlock,
    Disagreement,
    LostFailure,
    MetadataUnreadable,
    MetadataWrong,
    NotInPlace,
    NotLoaded,
    PassedFailure,
    UnexpectedFailure,
    UnprotectedFailure,
    Violation,
    WrongBits,
    WrongException,
    WrongKeys,
    WrongObject,
    WrongPhase,
    WrongRanks,
    WrongTensor,
)
from tests.script_runs import Plant
from worlds import ChunkSharding, Fault, ObjectEntry, Operation, Scenario, TensorEntry

__all__ = ["BUGS", "Bug", "planted_here"]


@dataclass(frozen=True)
class Bug:
    """Lines of torch to replace, the scenario that shows it, the violation, and what the script must then print."""

    id: str
    kind: type[Violation]
    plant: Plant
    scenario: Scenario
    says: str


_CHECKPOINT = "torch.distributed.checkpoint"
_READER = f"{_CHECKPOINT}.filesystem:FileSystemReader"
_COPY = "target_tensor.copy_(tensor)"
_SAVE = "return _save_state_dict("
_LOADED = "state_dict[key] = stateful_sd[key]"
_FINISH = "storage_writer.finish(metadata=global_metadata, results=all_results)"

TENSOR = Scenario(entries=(TensorEntry("a", (2, 3)),))
TWO_RANKS = Operation(2)
TWO_FAIL = Scenario(
    save=TWO_RANKS,
    load=TWO_RANKS,
    faults=(Fault("save", 0, "writer.write_data"), Fault("save", 1, "writer.write_data")),
)
ONE_FAILS = Scenario(save=TWO_RANKS, load=TWO_RANKS, faults=(Fault("save", 1, "writer.write_data"),))
RESHARDED = Scenario(
    entries=(
        TensorEntry("a", (6,), saved=ChunkSharding(0, (0, 1)), loaded=ChunkSharding(0, (1, 0, 1))),
        TensorEntry("b", (3, 2), "bool"),
        ObjectEntry("c", (1, "two")),
    ),
    save=TWO_RANKS,
    load=TWO_RANKS,
)

BUGS = (
    Bug(
        "a resharding offset off by one",
        WrongBits,
        Plant(
            f"{_CHECKPOINT}.resharding",
            "_shards_get_overlap_region_wrt_saved_tensor",
            "offset_for_saved_tensor = current_shard_offset - saved_shard_offset",
            "offset_for_saved_tensor = max(0, current_shard_offset - saved_shard_offset - 1)",
        ),
        RESHARDED,
        "in the shard at",
    ),
    Bug("a cast", WrongBits, Plant(_READER, "read_data", _COPY, "target_tensor.copy_(tensor.half())"), TENSOR, "saved"),
    Bug("no copy", NotLoaded, Plant(_READER, "read_data", _COPY, "pass"), TENSOR, "6 elements are not what was saved"),
    Bug(
        "a copy that goes too far",
        ChangedOutside,
        Plant(
            _READER,
            "read_data",
            _COPY,
            f"{_COPY}; __import__('ctypes').memset(target_tensor.data_ptr() + target_tensor.nbytes, 0, 4)",
        ),
        TENSOR,
        "memory beside a tensor was written",
    ),
    Bug(
        "a new tensor",
        NotInPlace,
        Plant(f"{_CHECKPOINT}.state_dict_loader", "load", _LOADED, "state_dict[key] = stateful_sd[key].clone()"),
        TENSOR,
        "is another tensor than the one to load into",
    ),
    Bug(
        "another dtype",
        WrongTensor,
        Plant(f"{_CHECKPOINT}.state_dict_loader", "load", _LOADED, "state_dict[key] = stateful_sd[key].half()"),
        TENSOR,
        "torch.float16",
    ),
    Bug(
        "a key too many",
        WrongKeys,
        Plant(f"{_CHECKPOINT}.state_dict_loader", "load", _LOADED, f"{_LOADED}; state_dict['more'] = 0"),
        TENSOR,
        "the keys are ['a', 'more']",
    ),
    Bug(
        "another object",
        WrongObject,
        Plant(
            f"{_CHECKPOINT}.default_planner:DefaultLoadPlanner",
            "load_bytes",
            "torch.load(value, weights_only=False)",
            "str(torch.load(value, weights_only=False))",
        ),
        Scenario(entries=(ObjectEntry("a", (1, 2)),)),
        "a: saved (1, 2), loaded '(1, 2)'",
    ),
    Bug(
        "a save that clears",
        ChangedInput,
        Plant(
            f"{_CHECKPOINT}.default_planner:DefaultSavePlanner",
            "resolve_data",
            "object = self.lookup_object(write_item.index)",
            "object = self.lookup_object(write_item.index).zero_()",
        ),
        TENSOR,
        "now 00000000",
    ),
    Bug(
        "only the first failing rank kept",
        LostFailure,
        Plant(
            f"{_CHECKPOINT}.utils",
            "_get_failure_dict",
            "return cast(",
            "return dict(list({i: e for i, e in enumerate(results) if _is_wrapped_exception(e)}.items())[:1])\n"
            "    return cast(",
        ),
        TWO_FAIL,
        "naming ranks [0]",
    ),
    Bug(
        "a finish error swallowed",
        LostFailure,
        Plant(
            f"{_CHECKPOINT}.state_dict_saver",
            "_save_state_dict",
            _FINISH,
            f"import contextlib\n        with contextlib.suppress(BaseException):\n            {_FINISH}",
        ),
        Scenario(faults=(Fault("save", 0, "writer.finish"),)),
        "save() returned",
    ),
    Bug(
        "the next rank blamed",
        WrongRanks,
        Plant(
            f"{_CHECKPOINT}.utils",
            "_get_failure_dict",
            "if _is_wrapped_exception(err)}",
            "if _is_wrapped_exception(err)} | {i - 1: e for i, e in enumerate(results) if _is_wrapped_exception(e)}",
        ),
        ONE_FAILS,
        "naming ranks [0, 1]",
    ),
    Bug(
        "another phase",
        WrongPhase,
        Plant(f"{_CHECKPOINT}.state_dict_saver", "_save_state_dict", '"write", write_data', '"plan", write_data'),
        ONE_FAILS,
        "CheckpointException in 'plan'",
    ),
    Bug(
        "another exception",
        WrongException,
        Plant(f"{_CHECKPOINT}.api", "_wrap_exception", "summary =", "exc = RuntimeError(str(exc)); summary ="),
        ONE_FAILS,
        "{1: RuntimeError('[Errno 5] write_data failed')}",
    ),
    Bug(
        "each rank another",
        Disagreement,
        Plant(
            f"{_CHECKPOINT}.utils:_DistWrapper",
            "all_reduce",
            "raise final_result",
            "final_result.failures.update({0: final_result.failures[1]} if self.rank else {}); raise final_result",
        ),
        ONE_FAILS,
        "[rank 1] expected: raised CheckpointException in 'write' naming {1: OSError(5, 'write_data failed')}",
    ),
    Bug(
        "a failure let out",
        UnprotectedFailure,
        Plant(
            f"{_CHECKPOINT}.utils:_DistWrapper",
            "all_reduce",
            "raise final_result",
            "raise RuntimeError('something failed')",
        ),
        ONE_FAILS,
        "raised RuntimeError('something failed')",
    ),
    Bug(
        "a reduction in spite of a failure",
        PassedFailure,
        Plant(
            f"{_CHECKPOINT}.utils:_DistWrapper",
            "all_reduce",
            "if len(node_failures) == 0:",
            "import contextlib\n        with contextlib.suppress(BaseException):\n"
            "            node_failures and reduce_fun(all_data)\n        if len(node_failures) == 0:",
        ),
        Scenario(faults=(Fault("save", 0, "writer.write_data"), Fault("save", 0, "writer.finish", "ValueError"))),
        "went on to finish",
    ),
    Bug(
        "a rank that leaves",
        Deadlock,
        Plant(
            f"{_CHECKPOINT}.utils:_DistWrapper",
            "gather_object",
            "if self.use_dist:",
            "if self.use_dist and self.rank == 1:\n        raise ValueError('left')\n    if self.use_dist:",
        ),
        Scenario(entries=(ObjectEntry("a"),), save=TWO_RANKS, load=TWO_RANKS),
        "[rank 0] still in save()",
    ),
    Bug(
        "a metadata file that is empty",
        MetadataUnreadable,
        Plant(f"{_CHECKPOINT}.filesystem:_FileSystemWriter", "finish", "pickle.dump(metadata, metadata_file)", "pass"),
        TENSOR,
        "EOFError",
    ),
    Bug(
        "a dropped write item",
        MetadataWrong,
        Plant(
            f"{_CHECKPOINT}.default_planner",
            "create_default_local_save_plan",
            "return SavePlan(requests)",
            "return SavePlan(requests[1:])",
        ),
        Scenario(entries=(TensorEntry("a"), ObjectEntry("b"))),
        "the metadata says {'b': None}",
    ),
    Bug(
        "a chunk listed twice",
        BadChunks,
        Plant(
            f"{_CHECKPOINT}.filesystem:_FileSystemWriter",
            "finish",
            "metadata.storage_data = storage_md",
            "metadata.storage_data = storage_md\n"
            "    [tensor.chunks.append(tensor.chunks[0]) for tensor in metadata.state_dict_metadata.values()]",
        ),
        TENSOR,
        "the chunks do not tile it",
    ),
    Bug(
        "an entry that is not in the index",
        BadStorageIndex,
        Plant(
            f"{_CHECKPOINT}.filesystem:_FileSystemWriter",
            "finish",
            "metadata.storage_data = storage_md",
            "storage_md.popitem(); metadata.storage_data = storage_md",
        ),
        Scenario(entries=(TensorEntry("a", (2, 3)), TensorEntry("b"))),
        "without a place in the files: {('b', ())}",
    ),
    Bug(
        "a save that returns other metadata",
        Disagreement,
        Plant(
            f"{_CHECKPOINT}.state_dict_saver",
            "_save_state_dict",
            "return metadata",
            "metadata.storage_data = {}\n    return metadata",
        ),
        TENSOR,
        "save() returned {}",
    ),
    Bug(
        "a save that refuses",
        UnexpectedFailure,
        Plant(
            f"{_CHECKPOINT}.state_dict_saver",
            "save",
            _SAVE,
            f"if state_dict: raise ValueError('refused')\n        {_SAVE}",
        ),
        TENSOR,
        "ValueError: refused",
    ),
)


@contextmanager
def planted_here(bug: Bug) -> Iterator[None]:
    """The bug in the torch of this process."""
    module, _, attribute = bug.plant.owner.partition(":")
    owner: Any = importlib.import_module(module)
    owner = getattr(owner, attribute) if attribute else owner
    with ExitStack() as stack:
        stack.enter_context(planted(owner, bug.plant.function, bug.plant.old, bug.plant.new))
        yield
