"""A campaign's directory: its plan, its logs and findings, and how to go on with it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from properties.databases import is_redis

from .cases import data_of
from .files import read_text, write_whole
from .logs import Log, Record, read_log
from .slot import read_slot
from .status import Refused
from .tally import Tally

__all__ = ["Folder", "Plan"]


@dataclass(frozen=True)
class Plan:
    """What a campaign is to do; a campaign that is resumed does what is left of it."""

    laws: tuple[str, ...]
    world: str
    seconds: float
    workers: int
    seed: int
    shard: int = 1
    shards: int = 1
    floor: float = 0.5
    """The part of the time that is spread evenly over the laws."""

    unit_seconds: float = 30
    unit_examples: int | None = None
    units: int | None = None
    """How many units of each law at most, for a campaign that is to come to the same each time."""

    shrink_seconds: float = 60
    patience: float = 600
    storage: str = ""
    """The storage that all scenarios are on, if one was chosen."""

    planners: str = ""
    """The planners that all scenarios have, if some were chosen."""

    left_out: tuple[str, ...] = ()
    """What is not judged with those, in lines that say why."""

    findings: str = ""
    """The directory of findings, if it is not the campaign's own, or the address of a Redis server that shares them.

    What is in there already is not new.
    """

    engine: str = "local"
    """``"local"`` for processes of this machine, or ``"ray"`` for workers of the cluster at ``address``."""

    address: str = ""
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def on(self) -> str:
        """What was chosen for all scenarios, in words; none where nothing was."""
        storage = f"on the storage {self.storage}" if self.storage else ""
        return " ".join(filter(None, [storage, f"with the planners {self.planners}" if self.planners else ""]))

    def to_data(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @staticmethod
    def from_data(data: dict[str, Any]) -> Plan:
        """The plan that :meth:`to_data` told of."""
        versions = tuple((name, version) for name, version in data["versions"])
        lines = {name: tuple(data.get(name, ())) for name in ("laws", "left_out")}
        return Plan(**{**data, **lines, "versions": versions})


class Folder:
    """The directory. ``log/`` has what was done, ``slots/`` what is being done, ``findings/`` what is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, plan: Plan) -> None:
        """Begin; raises :class:`Refused` where there is something already."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise Refused(f"{self.path} is there already: go on with --resume {self.path}, or name another directory")
        try:
            write_whole(self.path / "campaign.json", json.dumps(plan.to_data(), indent=2) + "\n")
        except OSError as error:
            raise Refused(f"cannot write {self.path}: {error.strerror}") from None

    def plan(self) -> Plan:
        """What it is to do; raises :class:`Refused` where that is not a campaign's directory."""
        if not (self.path / "campaign.json").is_file():
            raise Refused(f"{self.path} is no campaign: it has no campaign.json")
        try:
            return Plan.from_data(json.loads(read_text(self.path / "campaign.json")))
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(f"{self.path}/campaign.json is no plan of a campaign: {error}") from None

    def tally(self) -> Tally:
        """What it has come to, by its logs."""
        tally = Tally()
        for path in self.logs():
            for record in read_log(path):
                tally.add(record)
        return tally

    def logs(self) -> Sequence[Path]:
        """The files of records."""
        return sorted((self.path / "log").glob("*.jsonl"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside the block nobody else drives the campaign; raises :class:`Refused` where somebody does."""
        with (self.path / "lock").open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Refused(f"the campaign in {self.path} is under way: wait for it, or interrupt it") from None
            yield

    def recover(self, name: str, how: str) -> list[Record]:
        """Write down what a worker that is dead had done and begun, and return the records.

        Nothing is left to write where it has ended as it should; what was written once is not written again.
        """
        path = self.path / "log" / f"{name}.jsonl"
        with Log(path) as log:  # which the worker has until it is dead
            found = list(self._unwritten(name, list(read_log(path)), how))
            for record in found:
                log.append(record)
        return found

    def _unwritten(self, name: str, records: Sequence[Record], how: str) -> Iterator[Record]:
        begun = {record["unit"]: record["law"] for record in records if record["is"] == "begin"}
        ended = {record["unit"] for record in records if record["is"] in ("end", "lost")}
        written = {(record["unit"], record["n"]) for record in records if record["is"] == "progress"}
        at = read_slot(self.path / "slots" / name)
        for unit, law in begun.items():
            if unit in ended:
                continue
            case = None
            if at is not None and at.pending["unit"] == unit:
                case = data_of(at.case)
                if (unit, at.pending["n"]) not in written:
                    yield {"is": "progress", **at.pending, "seconds": 0.0}
            yield {"is": "lost", "unit": unit, "law": law, "how": how, "case": case}

    def recover_all(self) -> None:
        """As :meth:`recover`, for each worker of a campaign that was killed."""
        for path in self.logs():
            if not path.stem.endswith("engine"):
                self.recover(path.stem, "the campaign was killed")

    def findings(self) -> Path:
        """Where findings are stored."""
        where = self.plan().findings
        if is_redis(where):
            return self.path / "kept"
        return Path(where or self.path / "findings")
