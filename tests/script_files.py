"""Scenarios and histories in which operations on files fail, for scripts to show."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from worlds import (
    ChunkSharding,
    FileFault,
    ObjectEntry,
    Operation,
    Scenario,
    Schedule,
    TensorEntry,
    WriterOptions,
)
from worlds.file_faults import FILE_CALLS
from worlds.histories import History, Load, Save

__all__ = ["BOTH", "CALLS", "FAIL", "MIXED", "ONE", "PARTLY", "TORN", "TWO"]

ALONE = Operation(distributed=False)
TWO = Operation(2)
ENTRIES = (TensorEntry("a", (100,)), ObjectEntry("b", 1))
ONE = Scenario(ENTRIES, ALONE, ALONE, WriterOptions(sync_files=True))
HALVES = ChunkSharding(0, (0, 1))
BOTH = Scenario((TensorEntry("a", (100,), saved=HALVES, loaded=HALVES), ENTRIES[1]), TWO, TWO, ONE.writer)
CALLS: list[tuple[Literal["save", "load"], str]] = [
    ("save" if of == "save" else "load", call) for of, call in FILE_CALLS
]
PARTLY = [
    (FileFault("save", 0, "data.write", "short"), FileFault("save", 0, "data.write", skip=4)),
    (FileFault("save", 0, "data.write", "short"), FileFault("save", 0, "data.write", "short", 1)),
    (FileFault("save", 0, "data.write", "full"),),
    (FileFault("save", 0, "metadata.write", "short"), FileFault("save", 0, "metadata.write", skip=1)),
    (FileFault("load", 0, "data.read", "short"), FileFault("load", 0, "data.read", skip=3)),
    (FileFault("load", 0, "metadata.read", "short"), FileFault("load", 0, "metadata.read", skip=1)),
]
"""Where a part of the work is done, the next call does the rest, so that it shows at which call what follows is."""

FAIL = {
    "on one rank of two": replace(BOTH, file_faults=(FileFault("save", 1, "data.close", "ENOSPC"),)),
    "on ranks of a group, each with another error": replace(
        BOTH,
        load=Operation(2, members=(0, 2)),
        file_faults=(FileFault("load", 0, "data.read", "EPERM", 1), FileFault("load", 1, "data.seek")),
    ),
    "where nothing is yet": replace(
        BOTH, file_faults=tuple(FileFault("save", rank, "directory.mkdir") for rank in (0, 1))
    ),
    "in the first of two threads, in the background": replace(
        BOTH,
        entries=ENTRIES,
        save=Operation(2, api="async", stager="default", schedule=Schedule(threads_first=False)),
        writer=WriterOptions(thread_count=2),
        file_faults=(FileFault("save", 0, "data.open"),),
    ),
    "on a disk that becomes full": replace(BOTH, file_faults=(FileFault("save", 0, "data.write", "full", 2),)),
}

TORN = TensorEntry("a", (2,), saved=HALVES)
MIXED = {
    "what cannot be opened": History(
        (TORN,), (Save("a", TWO), Save("a", TWO, file_faults=(FileFault("save", 1, "data.open"),)), Load())
    ),
    "all that can go wrong": History(
        (TORN,),
        (
            Save("a", TWO, file_faults=tuple(FileFault("save", rank, "directory.mkdir") for rank in (0, 1))),
            Save("a", TWO, file_faults=(FileFault("save", 1, "data.write", "full", 1),)),
            Save("a", TWO, file_faults=(FileFault("save", 0, "data.write", "short"),)),
            Save("a", TWO, file_faults=(FileFault("save", 0, "data.open", "ENOSPC"),)),
            Load(file_faults=(FileFault("load", 0, "data.read", "short"),)),
        ),
    ),
}
