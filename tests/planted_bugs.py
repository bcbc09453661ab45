"""Bugs to plant in DCP that the core of the laws must find: what is resharded, and who is blamed."""

from __future__ import annotations

from dataclasses import dataclass

from torch.distributed.checkpoint import default_planner, filesystem, resharding, state_dict_saver, utils

from properties.violations import LostFailure, MetadataWrong, NotLoaded, NotRefused, Violation, WrongBits
from tests.planted_line import PlantedLine

__all__ = ["CORE_BUGS", "Bug"]


@dataclass(frozen=True)
class Bug(PlantedLine):
    """A line of DCP, what to put in its place, the law that must break, and how small the scenario must become."""

    failing: str
    kinds: tuple[type[Violation], ...]
    ranks: int = 1
    entries: int = 1
    faults: int = 0
    mismatched: bool = False
    """Whether the law is the one on what must be refused."""


CORE_BUGS = (
    Bug(
        "a resharding offset off by one",
        resharding,
        "_shards_get_overlap_region_wrt_saved_tensor",
        "offset_for_saved_tensor = current_shard_offset - saved_shard_offset",
        "offset_for_saved_tensor = max(0, current_shard_offset - saved_shard_offset - 1)",
        "nothing",
        (WrongBits,),
        ranks=2,
    ),
    Bug(
        "only the first failing rank kept",
        utils,
        "_get_failure_dict",
        "return cast(",
        "return dict(list({i: err for i, err in enumerate(results) if _is_wrapped_exception(err)}.items())[:1])\n"
        "    return cast(",
        "save",
        (LostFailure, NotRefused),
        ranks=2,
        entries=2,
        faults=2,
    ),
    Bug(
        "the coordinator's failure booked on rank 0",
        utils._DistWrapper,
        "all_reduce",
        "node_failures[self.rank]",
        "node_failures[0]",
        "save",
        (LostFailure,),
        ranks=2,
        entries=0,
        faults=1,
    ),
    Bug(
        "a dropped write item",
        default_planner,
        "create_default_local_save_plan",
        "return SavePlan(requests)",
        "return SavePlan(requests[1:])",
        "nothing",
        (MetadataWrong,),
    ),
    Bug(
        "a finish error swallowed",
        state_dict_saver,
        "_save_state_dict",
        "storage_writer.finish(metadata=global_metadata, results=all_results)",
        "import contextlib\n        with contextlib.suppress(BaseException):\n"
        "            storage_writer.finish(metadata=global_metadata, results=all_results)",
        "save",
        (LostFailure,),
        entries=0,
        faults=1,
    ),
    Bug(
        "a dtype cast on load",
        filesystem.FileSystemReader,
        "read_data",
        "target_tensor.copy_(tensor)",
        "target_tensor.copy_(tensor.half() if tensor.is_floating_point() else tensor)",
        "nothing",
        (WrongBits, NotLoaded),
    ),
    Bug(
        "an async write error not awaited",
        state_dict_saver,
        "_save_state_dict",
        "all_writes.wait()\n        return all_writes.value()",
        "try:\n            return all_writes.value()\n        except BaseException:\n            return []",
        "save",
        (LostFailure,),
        entries=0,
        faults=1,
    ),
)
