"""The same examples of a law in several processes, and where what was seen of one differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..laws import Law
from ..logs import Record
from ..pool import ROOT
from .one_law import BACKWARDS, LOADED

__all__ = ["WAYS", "Difference", "Way", "compare", "differences"]


@dataclass(frozen=True)
class Way:
    """How a process runs the examples: with this seed of what strings hash to, and as :mod:`.one_law` names it."""

    name: str
    hash_seed: int
    how: str = ""


WAYS = (
    Way("first", 1),
    Way("in another process", 2),
    Way("from the last to the first, each twice", 3, BACKWARDS),
    Way("beside load", 4, LOADED),
)
"""The first is what the others are compared with."""


@dataclass(frozen=True)
class Difference:
    """Of what the example with that number differs, and how it was run."""

    law: str
    number: int
    way: str
    what: str
    case: str

    def __str__(self) -> str:
        return f"{self.law}, example {self.number}: {self.what} {self.way}: {self.case}"


def compare(law: Law, examples: int, ways: Sequence[Way] = WAYS) -> tuple[int, list[Difference]]:
    """How many examples were compared, and every difference; raises ``RuntimeError`` where a process dies."""
    first, *others = ((way, _run(law, examples, way)) for way in ways)
    seen = {record["number"]: record for record in first[1]}
    found = [difference for way, records in others for difference in differences(law.name, way.name, seen, records)]
    return len(seen), found


def differences(law: str, way: str, seen: dict[int, Record], records: Sequence[Record]) -> Iterator[Difference]:
    """Where the records of a process, run that way, are not those that were ``seen`` first, by their numbers."""
    for number in sorted(seen.keys() - {record["number"] for record in records}):
        yield Difference(law, number, way, "was not drawn", seen[number]["case"])
    for record in records:
        number = record["number"]
        before = seen.get(number)
        if before is None:
            yield Difference(law, number, way, "was drawn, and was not before,", record["case"])
        elif before["case"] != record["case"]:
            yield Difference(law, number, way, "is another one", record["case"])
        elif before["outcome"] != record["outcome"]:
            yield Difference(law, number, way, "had another outcome", record["case"])
        elif before["said"] != record["said"]:
            said = f"was judged otherwise ({before['headline']} | {record['headline']})"
            yield Difference(law, number, way, said, record["case"])


def _run(law: Law, examples: int, way: Way) -> list[Record]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": str(way.hash_seed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "campaign.determinism.one_law", law.name, str(examples)]
    command += [way.how] if way.how else []
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = next(iter(done.stderr.strip().splitlines()[-1:]), "")
        raise RuntimeError(f"{law.name} {way.name} ended with status {done.returncode}: {last}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
