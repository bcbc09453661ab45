"""Which operations on files of a scenario fail for sure, which perhaps, and which DCP may get over.

As ``torch.distributed.checkpoint.filesystem`` of torch 2.13 asks for them; a call that is never made fails nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from worlds.errors import RAISES_NOTHING
from worlds.faults import Fault
from worlds.file_faults import UNWRITTEN, FileFault
from worlds.outcome import Hit
from worlds.request_faults import RequestFault
from worlds.scenario import Scenario
from worlds.storages import SHIPPED, find_storage

from .reach import Chance, Reach, chance_of_items, is_called

__all__ = ["may_be_got_over", "reached_files", "told_hits"]


def reached_files(scenario: Scenario, name: Literal["save", "load"]) -> Iterator[Reach]:
    """What can make ranks fail in that operation; what raises nothing does not."""
    for index, fault in enumerate(scenario.file_faults):
        if (
            fault.operation == name
            and fault.error not in RAISES_NOTHING
            and (chance := _chance(scenario, fault)) != "never"
        ):
            # What a storage from elsewhere asks for, only that knows.
            certain = chance == "surely" and scenario.storage in SHIPPED and not may_be_got_over(scenario, fault)
            yield Reach(index, fault.rank, fault.place.step, certain)


def told_hits(scenario: Scenario, hits: Sequence[Hit]) -> list[Hit]:
    """Those of the hits of which somebody must hear: no short reads or writes, and nothing that may be got over."""
    return [hit for hit in hits if not _may_pass(scenario, scenario.all_faults[hit.index])]


def _may_pass(scenario: Scenario, fault: Fault | FileFault | RequestFault) -> bool:
    return isinstance(fault, FileFault) and (fault.error in RAISES_NOTHING or may_be_got_over(scenario, fault))


def may_be_got_over(scenario: Scenario, fault: FileFault) -> bool:
    """Whether DCP may go on where that fails, and then all must be right.

    - A directory that is there need not be made: another rank has made it, or an earlier save. Fsspec is asked to do so
      all the same.
    - Where a writer overwrites, nothing depends on whether there is metadata; ``pathlib`` itself takes each failure for
      "no" from Python 3.14 on.
    - A file that could not be written may be there or not: what counts is why it could not.
    - Each rank of a save without collectives has metadata of its own, which a load reads if it finds none of the whole.
    """
    match fault.operation, fault.call:
        case "save", "directory.mkdir" if find_storage(scenario.storage).files == "fsspec":
            return False
        case "save", "directory.mkdir":
            unmade = {other.rank for other in scenario.file_faults if other.call == fault.call and not other.skip}
            return len(unmade) < scenario.save.world_size or scenario.earlier != "nothing"
        case "save", call if call == UNWRITTEN:
            return True
        case "save", "metadata.exists":
            return scenario.writer.overwrite or fault.skip > 0
        case "load", call if call.startswith("metadata."):
            return not scenario.save.coordinated
    return False


def _chance(scenario: Scenario, fault: FileFault) -> Chance:
    if not is_called(scenario, fault) or fault.call == UNWRITTEN:  # by which nobody fails who has not failed before
        return "never"
    if fault.skip:
        return "maybe"
    method = fault.call.rpartition(".")[2]
    if method == "fsync" and not scenario.writer.sync_files:
        return "never"
    if method == "remove":  # metadata of the same kind, if an earlier save has left some
        return "maybe" if (scenario.earlier == "coordinated") == scenario.save.coordinated else "never"
    if not fault.call.startswith("data."):
        return "surely"
    if method in ("write", "read"):  # an object may be without a byte
        return "maybe"
    if fault.operation == "save" and scenario.writer.single_file_per_rank and method != "seek":
        return "surely"  # also of a file with nothing in it
    return chance_of_items(scenario, fault.operation, fault.rank)
