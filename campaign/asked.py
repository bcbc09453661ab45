"""What a user asks of a new campaign, in the words of the options, and the plan that it comes to."""

from __future__ import annotations

import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from properties.choices import require_usable
from properties.databases import is_redis
from properties.summary import left_out_lines
from worlds import InvalidScenario
from worlds.planners import find_planners

from .finding import versions
from .folder import Folder, Plan
from .laws import Law, chosen_laws
from .ray_pool import cluster_cpus
from .status import Refused

__all__ = ["Asked", "begin", "cpus", "seconds_of", "shard_of"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of ``dcp-stress fuzz``, by their names, as they were given."""

    laws: tuple[str, ...]
    max_time: str
    workers: int | None
    engine: str
    address: str
    world: str
    storage: str
    planner: str
    seed: int | None
    shard: str
    units: int | None
    max_examples: int | None
    patience: str
    findings: str

    def plan(self) -> Plan:
        """What the campaign is to do; raises :class:`Refused`, with one line, where that cannot be done."""
        if self.address and self.engine != "ray":
            raise Refused("--address is of a Ray cluster: say --engine=ray")
        shard, shards = shard_of(self.shard)
        if shards > 1 and self.seed is None:
            raise Refused("the shards of a campaign need one seed: say --seed=N in each of them")
        left_out = _left_out(self.storage, self.planner, self.world) if self.storage or self.planner else ()
        names = tuple(law.name for law in self._laws())
        findings = self.findings if is_redis(self.findings) or not self.findings else Path(self.findings).resolve()
        address = self.address or ("auto" if self.engine == "ray" else "")
        workers = self.workers or (cluster_cpus(address) if self.engine == "ray" else cpus())
        return Plan(
            laws=names,
            world=self.world,
            seconds=seconds_of(self.max_time),
            workers=workers,
            seed=secrets.randbelow(2**32) if self.seed is None else self.seed,
            shard=shard,
            shards=shards,
            unit_seconds=self._unit_seconds(workers, len(names)),
            unit_examples=self.max_examples,
            units=self.units,
            patience=seconds_of(self.patience),
            engine=self.engine,
            address=address,
            storage=self.storage,
            planners=self.planner,
            left_out=left_out,
            findings=str(findings),
            versions=tuple(versions().items()),
        )

    def _laws(self) -> list[Law]:
        return chosen_laws(self.laws, self.world, storage=self.storage, planners=self.planner)

    def _unit_seconds(self, workers: int, laws: int) -> float:
        """How long a slice is: each law comes up several times in a campaign, and a slice gets somewhere.

        One that is to end after so many examples does not end by the clock, or no two campaigns would be the same.
        """
        seconds = seconds_of(self.max_time)
        return seconds if self.max_examples else min(60, max(2, seconds * workers / (4 * laws)))


def begin(path: Path | None, asked: Asked) -> Folder:
    """Make the directory of a new campaign; raises :class:`Refused`."""
    plan = asked.plan()
    folder = Folder(path or Path(f"campaign-{time.strftime('%Y%m%d-%H%M%S')}"))
    folder.create(plan)
    return folder


def _left_out(storage: str, planners: str, world: str) -> tuple[str, ...]:
    """What will not be judged on those, in lines; raises :class:`Refused` where they cannot be had."""
    option = "--storage" if storage else "--planner"
    try:
        if storage:
            require_usable(storage, world)
        option = "--planner"
        if planners:
            find_planners(planners)
    except InvalidScenario as error:
        raise Refused(f"{option}: {error}") from None
    others = [law.name for law in chosen_laws((), world) if not law.is_of_storages]
    return tuple(left_out_lines(storage, planners, others))


def cpus() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_of(text: str) -> float:
    """A duration, as ``90``, ``90s``, ``10m``, ``1h30m`` or ``2d``; raises :class:`Refused`."""
    parts = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    seconds = 0
    if parts is not None:
        seconds = sum(int(part or 0) * unit for part, unit in zip(parts.groups(), (86400, 3600, 60, 1), strict=True))
    if not seconds:
        raise Refused(f"{text!r} is no duration: write 90s, 10m, 1h30m or 2d")
    return seconds


def shard_of(text: str) -> tuple[int, int]:
    """``i/n`` as numbers; raises :class:`Refused`."""
    parts = re.fullmatch(r"(\d+)/(\d+)", text)
    if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
        raise Refused(f"{text!r} is no shard: write i/n, with i from 1 to n")
    return int(parts[1]), int(parts[2])
