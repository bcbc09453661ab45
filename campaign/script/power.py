"""What is left where the power fails after a save that syncs its files, in a script."""

from __future__ import annotations

from worlds.file_faults import FileFault

from .known import CannotWrite
from .plan import Plan
from .text import indented

__all__ = ["power_blocks", "power_lines"]

_NOTING = '''\
synced = {}


def fsync(file):
    """Note what is in the file by now, which is what is left of it when the power fails."""
    synced[os.fstat(file).st_ino] = os.fstat(file).st_size'''

_FAILS = """\
metadata = os.path.join(path, ".metadata")
os.truncate(metadata, synced[os.stat(metadata).st_ino])  # the power fails"""


def power_blocks(plan: Plan) -> list[str]:
    """What notes what is synced; raises :class:`CannotWrite` where something else is lost than all metadata."""
    for fault in plan.scenario.file_faults:
        if fault.error == "lost" and not _is_of_metadata(plan, fault):
            raise CannotWrite(f"there is no script for a scenario in which {fault.call} fails (lost) yet")
    return [_NOTING, "os.fsync = fsync"] if _is_lost(plan) else []


def power_lines(plan: Plan) -> list[str]:
    """The statements after the save by which what was not synced is lost; one rank runs them, and the others wait."""
    if not _is_lost(plan):
        return []
    if plan.ranks == 1:
        return [_FAILS]
    return ["dist.barrier()", "if rank == 0:", *indented(_FAILS.splitlines()), "dist.barrier()"]


def _is_lost(plan: Plan) -> bool:
    return any(fault.error == "lost" for fault in plan.scenario.file_faults)


def _is_of_metadata(plan: Plan, fault: FileFault) -> bool:
    """Whether all metadata that the save writes are lost as far as they are not synced, and nothing else is."""
    save = plan.scenario.save
    lost = (fault.operation, fault.call, fault.skip) == ("save", "metadata.fsync", 0)
    return lost and fault.rank == save.coordinator and save.coordinated and plan.scenario.writer.sync_files
