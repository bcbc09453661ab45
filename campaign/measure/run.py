"""The measure of many bugs: a process for each bug and seed, and a line in a file for what came of it."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
from hypothesis import settings

from properties.choices import WORLDS
from properties.drawing import set_up_drawing
from properties.profiles import COMMON
from strategies import limit_storages
from worlds import SimulatedWorld
from worlds.hygiene import quiet

from ..laws import Law
from ..opened import OpenedWorlds
from ..planted.bug import Bug
from ..planted.catalogue import CATALOGUE
from ..status import Refused
from .race import Racer, Record, who_of

__all__ = ["RESULTS", "chosen_bugs", "measure", "prepare", "read_results", "warm_up"]

_FEW = 3

RESULTS = "measure.jsonl"
"""The file of a measure's directory in which each race has a line."""


def prepare() -> None:
    """Set Hypothesis up as for a run of the profile ci; before the laws are imported, which go by it."""
    set_up_drawing()
    examples = WORLDS[SimulatedWorld.name].examples["ci"]
    settings.register_profile("ci", COMMON, max_examples=examples, derandomize=True, database=None)
    settings.load_profile("ci")
    limit_storages(shared=False)
    torch.set_num_threads(1)


def warm_up(laws: Iterable[Law]) -> None:
    """Run a few examples of each law, so that what torch and the strategies do but once is done before any race.

    Ten times as much is spent on that, in a process of its own for each law, as on the examples themselves. Laws that
    need processes are left out: what they start would not outlive a fork.
    """
    with OpenedWorlds() as opened, quiet():
        for law in laws:
            if law.needs_processes:
                continue
            usual = law.function._hypothesis_internal_use_settings
            law.function._hypothesis_internal_use_settings = settings(usual, max_examples=_FEW)
            # What breaks here, breaks in the races.
            with suppress(Exception):
                law.function(**law.fixtures(opened))
            law.function._hypothesis_internal_use_settings = usual


def chosen_bugs(names: Sequence[str]) -> list[Bug]:
    """Those of the catalogue by their ids, or without any all; raises :class:`Refused`."""
    for name in names:
        if name not in CATALOGUE:
            raise Refused(f"there is no planted bug {name!r}: `dcp-stress measure --list` shows them")
    return [CATALOGUE[name] for name in names] or list(CATALOGUE.values())


def read_results(directory: Path) -> list[Record]:
    """What is in the file of a directory so far; a line that was not written to its end is left out."""
    path = directory / RESULTS
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


@dataclass(frozen=True)
class _Race:
    bug: Bug
    seed: int
    racer: Racer

    @property
    def begun(self) -> Record:
        """What its record has, whatever comes of it."""
        return {"bug": self.bug.id, "seed": self.seed, "who": self.racer.who, "torch": torch.__version__}


def measure(
    bugs: Iterable[Bug], seeds: Sequence[int], racers: Sequence[Racer], directory: Path, *, workers: int = 1
) -> Iterator[Record]:
    """Race against each bug with each seed, but for what the directory has already; what came of each, as it ends.

    Racers without seeds race once. Laws are imported, and nothing has been started in this process that would not
    outlive a fork.
    """
    directory.mkdir(parents=True, exist_ok=True)
    done = {(record["bug"], record["seed"], who_of(record)) for record in read_results(directory)}
    left = [
        _Race(bug, seed, racer)
        for seed in seeds
        for bug in bugs
        for racer in racers
        if (racer.has_seeds or seed == seeds[0]) and (bug.id, seed, racer.who) not in done
    ]
    running: dict[Connection, tuple[_Race, int]] = {}
    with (directory / RESULTS).open("a", encoding="utf-8") as file:
        _end_line(directory / RESULTS)
        try:
            while left or running:
                while left and len(running) < workers:
                    race = left.pop(0)
                    connection, process = _start(race)
                    running[connection] = race, process
                for ready in wait(list(running)):
                    assert isinstance(ready, Connection)
                    record = _record(ready, *running.pop(ready))
                    file.write(json.dumps(record) + "\n")
                    file.flush()
                    yield record
        finally:
            for _, process in running.values():
                os.kill(process, 9)
                os.waitpid(process, 0)


def _end_line(path: Path) -> None:
    """End a line that whoever wrote it was killed in, so that it spoils no other."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])


def _start(race: _Race) -> tuple[Connection, int]:
    ours, theirs = Pipe(duplex=False)
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        ours.close()
        status = 1
        try:
            theirs.send({**race.begun, **race.racer.race(race.bug, race.seed)})
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    theirs.close()
    return ours, process


def _record(connection: Connection, race: _Race, process: int) -> Record:
    record: Record
    try:
        record = connection.recv()
    except EOFError:
        record = {**race.begun, "state": "lost"}
    connection.close()
    _, status = os.waitpid(process, 0)
    if record["state"] == "lost":
        record["how"] = f"its process ended with {os.waitstatus_to_exitcode(status)}"
    return record
