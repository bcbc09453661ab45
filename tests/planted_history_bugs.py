"""Bugs to plant in DCP that show only in what comes after, or is beside, something else."""

from __future__ import annotations

from dataclasses import dataclass

from torch.distributed.checkpoint import filesystem

from properties.judge_history import MemoryShows
from properties.judge_killed import EarlierChanged
from properties.violations import LostFailure, NotRefused, UnexpectedFailure, Violation
from tests.planted_line import PlantedLine

__all__ = ["HISTORY_BUGS", "HistoryBug"]


@dataclass(frozen=True)
class HistoryBug(PlantedLine):
    """A line of DCP, what to put in its place, how the law must break, and how many steps the story then has.

    A ``slow`` one takes the better part of a minute, or more, to find and to shrink.
    """

    kinds: tuple[type[Violation], ...]
    steps: int = 2
    ranks: int = 1
    entries: int = 1
    slow: bool = False


HISTORY_BUGS = (
    HistoryBug(
        "a writer that appends to an older file",
        filesystem.FileSystem,
        "create_stream",
        "path.open(mode)",
        "path.open('ab' if mode == 'wb' and path.suffix == '.distcp' else mode)",
        (MemoryShows,),
    ),
    HistoryBug(
        "a reader that goes on with the metadata that it has read before",
        filesystem.FileSystemReader,
        "read_metadata",
        "return metadata",
        "return self.__dict__.setdefault('_metadata', metadata)",
        (UnexpectedFailure,),
        steps=4,
        entries=2,
        slow=True,
    ),
    HistoryBug(
        "a writer that goes on writing where it has written before",
        filesystem._FileSystemWriter,
        "reset",
        "self.path = self.fs.init_path(checkpoint_id)",
        "self.path = self.__dict__.setdefault('_first', self.fs.init_path(checkpoint_id))",
        (EarlierChanged, MemoryShows),
        slow=True,
    ),
    HistoryBug(
        "overwrite=False ignored",
        filesystem._FileSystemWriter,
        "prepare_local_plan",
        "if self.overwrite:",
        "if True:",
        (NotRefused,),
    ),
    HistoryBug(
        "a new checkpoint that makes room by the one beside it",
        filesystem._FileSystemWriter,
        "finish",
        "metadata.version = CURRENT_DCP_VERSION",
        "metadata.version = CURRENT_DCP_VERSION\n"
        "    for old in self.path.parent.glob('*/.metadata'):\n"
        "        if old.parent != self.path:\n"
        "            old.unlink()",
        (EarlierChanged,),
    ),
    HistoryBug(
        "metadata taken away before it is known whether there is room",
        filesystem._FileSystemWriter,
        "prepare_local_plan",
        "self.fs.mkdir(self.path)",
        "if (self.path / '.metadata').exists() and self.overwrite and self.rank == 0:\n"
        "        (self.path / '.metadata').unlink()\n"
        "    self.fs.mkdir(self.path)",
        (EarlierChanged,),
    ),
    HistoryBug(
        "a failure to remove the older metadata passed over",
        filesystem._FileSystemWriter,
        "finish",
        "self.fs.rm_file(metadata_path)",
        "try:\n            self.fs.rm_file(metadata_path)\n        except OSError:\n            pass",
        (LostFailure,),
        slow=True,
    ),
)
