"""What the system says of a process's threads, so that a rank that only waits is told from one that is slow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

__all__ = ["Activity", "activity", "tells_children"]

Activity = tuple[tuple[int, int], ...]
"""For each thread that counts, how often it has run; equal twice means that it has not run in between."""


def activity(processes: Iterable[int], counted: Collection[int], ignored: Collection[int]) -> Activity | None:
    """How often each ``counted`` thread of the processes has run; ``None`` if any but the ``ignored`` runs right now.

    So has the main thread of each process that they have started, such as a daemon of ``async_save``.
    Gloo's own threads look for events a hundred times a second, so that they cannot be counted. They must sleep,
    though: what has arrived for a rank and was not handled yet wakes one. Where the system tells nothing of threads the
    answer is always the same, and only what the ranks say counts.
    """
    found = []
    ranks = list(processes)
    started = list(_children(ranks))
    counted = {*counted, *started}
    for process in [*ranks, *started]:
        try:
            tasks = sorted(Path(f"/proc/{process}/task").iterdir())
        except FileNotFoundError:
            continue
        for task in tasks:
            number = int(task.name)
            if number in ignored:
                continue
            asleep, runs = _status(task)
            if not asleep:
                return None
            if number in counted:
                found.append((number, runs))
    return tuple(found)


def tells_children() -> bool:
    """Whether the system says which processes a process has started."""
    return Path("/proc/thread-self/children").exists()


def _children(processes: Iterable[int]) -> Iterator[int]:
    """The processes that those have started, and that these have."""
    for process in processes:
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found = [int(number) for number in task.read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield from found
            yield from _children(found)


def _status(task: Path) -> tuple[bool, int]:
    asleep, runs = True, 0
    try:
        text = (task / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True, 0
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "State":
            asleep = value.split()[0] in ("S", "t", "I")
        elif name.endswith("ctxt_switches"):
            runs += int(value)
    return asleep, runs
