"""Operations on files that fail, and what is left where the power fails, in a script: as much of it as there is."""

from __future__ import annotations

from worlds.file_faults import FileFault

from .errors import fault_message
from .known import CannotWrite
from .plan import Plan
from .ranks import rank_condition
from .text import indented

__all__ = ["failing_reader", "file_blocks", "power_lines"]

_NOTING = '''\
synced = {}


def fsync(file):
    """Note what is in the file by now, which is what is left of it when the power fails."""
    synced[os.fstat(file).st_ino] = os.fstat(file).st_size'''

_FAILS = """\
metadata = os.path.join(path, ".metadata")
os.truncate(metadata, synced[os.stat(metadata).st_ino])  # the power fails"""

_READER = """\
class FailingReader(dcp.FileSystemReader):
    def read_metadata(self, *args, **kwargs):
        {condition}
            raise {error}
        return super().read_metadata(*args, **kwargs)"""


def file_blocks(plan: Plan) -> list[str]:
    """What notes what is synced, and what fails; raises :class:`CannotWrite` for other operations on files."""
    blocks = []
    for fault in plan.scenario.file_faults:
        if not _is_lost(plan, fault) and not _is_of_metadata(plan, fault):
            raise CannotWrite(f"there is no script for a scenario in which {fault.call} fails ({fault.error}) yet")
    if _lost(plan):
        blocks += [_NOTING, "os.fsync = fsync"]
    if failing_reader(plan):
        blocks.append(_reader(plan))
    return blocks


def failing_reader(plan: Plan) -> str | None:
    """The class of the reader where it fails to open the metadata of the whole."""
    fails = plan.last == "load" and any(_is_of_metadata(plan, fault) for fault in plan.scenario.file_faults)
    return "FailingReader" if fails else None


def power_lines(plan: Plan) -> list[str]:
    """The statements after the save by which what was not synced is lost; one rank runs them, and the others wait."""
    if not _lost(plan):
        return []
    if plan.ranks == 1:
        return [_FAILS]
    return ["dist.barrier()", "if rank == 0:", *indented(_FAILS.splitlines()), "dist.barrier()"]


def _reader(plan: Plan) -> str:
    faults = [fault for fault in plan.scenario.file_faults if _is_of_metadata(plan, fault)]
    errors = {f'OSError(errno.{fault.error}, "{fault_message(fault)}")' for fault in faults}
    if len(errors) > 1:
        raise CannotWrite("there is no script for ranks that fail to open the metadata with several errors yet")
    members = plan.members("load")
    ranks = sorted(members[fault.rank] for fault in faults)
    everyone = len(ranks) == len(members)
    where = "" if everyone else f" and {rank_condition('dist.get_rank()', ranks)}"
    return _READER.format(condition=f"if not kwargs{where}:  # for the metadata of the whole", error=errors.pop())


def _lost(plan: Plan) -> bool:
    return any(_is_lost(plan, fault) for fault in plan.scenario.file_faults)


def _is_lost(plan: Plan, fault: FileFault) -> bool:
    """Whether all metadata that the save writes are lost as far as they are not synced, and nothing else is."""
    lost = (fault.operation, fault.call, fault.error, fault.skip) == ("save", "metadata.fsync", "lost", 0)
    save = plan.scenario.save
    return lost and fault.rank == save.coordinator and save.coordinated and plan.scenario.writer.sync_files


def _is_of_metadata(plan: Plan, fault: FileFault) -> bool:
    return (fault.operation, fault.call, fault.skip) == ("load", "metadata.open", 0)
