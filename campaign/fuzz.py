"""A campaign from its beginning, or from where it was killed, to what it tells at its end."""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from properties.choices import require_usable
from properties.databases import is_redis
from properties.summary import known_issue_lines, left_out_lines
from worlds import InvalidScenario
from worlds.planners import find_planners

from .engine import Engine
from .finding import FILE, Finding, read_finding, versions
from .folder import Folder, Plan
from .laws import chosen_laws
from .pool import Pool
from .progress import Progress, law_lines
from .ray_pool import RayPool, cluster_cpus
from .shared import SharedFindings
from .status import INTERRUPTED, NEWS, NOTHING, Refused
from .tally import Tally, how_often

__all__ = ["begin", "cpus", "go_on", "seconds_of", "shard_of", "summary_lines"]

_IN_FULL = 3
"""Findings whose scenario the summary shows: the smallest."""


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


def begin(
    path: Path | None,
    *,
    laws: tuple[str, ...],
    world: str,
    seconds: float,
    workers: int | None,
    engine: str,
    address: str,
    seed: int | None,
    shard: tuple[int, int],
    patience: float,
    storage: str,
    planners: str,
    findings: str,
    units: int | None,
    unit_examples: int | None,
) -> Folder:
    """Make the directory of a new campaign; raises :class:`Refused`."""
    if address and engine != "ray":
        raise Refused("--address is of a Ray cluster: say --engine=ray")
    left_out: tuple[str, ...] = ()
    if storage or planners:
        left_out = _left_out(storage, planners, world)
    names = tuple(law.name for law in chosen_laws(laws, world, storage=storage, planners=planners))
    folder = Folder(path or Path(f"campaign-{time.strftime('%Y%m%d-%H%M%S')}"))
    if shard[1] > 1 and seed is None:
        raise Refused("the shards of a campaign need one seed: say --seed=N in each of them")
    address = address or ("auto" if engine == "ray" else "")
    workers = workers or (cluster_cpus(address) if engine == "ray" else cpus())
    folder.create(
        Plan(
            laws=names,
            world=world,
            seconds=seconds,
            workers=workers,
            seed=secrets.randbelow(2**32) if seed is None else seed,
            shard=shard[0],
            shards=shard[1],
            # Each law comes up several times in a campaign, and a slice is long enough to get somewhere. One that is
            # to end after so many examples does not end by the clock, or no two campaigns would be the same.
            unit_seconds=seconds if unit_examples else min(60, max(2, seconds * workers / (4 * len(names)))),
            unit_examples=unit_examples,
            units=units,
            patience=patience,
            engine=engine,
            address=address,
            storage=storage,
            planners=planners,
            left_out=left_out,
            findings=findings if is_redis(findings) or not findings else str(Path(findings).resolve()),
            versions=tuple(versions().items()),
        )
    )
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


def go_on(folder: Folder, progress: Progress) -> tuple[Tally, set[str], int]:
    """Run what is left of a campaign: what it has come to, what of that is new, and the exit status."""
    with folder.held():
        folder.recover_all()
        shared = SharedFindings(folder.plan().findings) if is_redis(folder.plan().findings) else None
        if shared is not None:
            shared.pull(folder.findings())
        tally = folder.tally()
        keep(folder, tally)  # which a worker may have found that nobody has heard any more
        earlier = stored(folder, tally)
        pool = _pool(folder)  # before interrupts are ours, since Ray takes them too
        with _interruptible():
            interrupted = Engine(folder, tally, pool, earlier=earlier, show=progress).run()
        tally = folder.tally()  # what is on the disk is what counts
        keep(folder, tally)
        if shared is not None:
            shared.push(tally.findings.values())
    new = {*tally.findings} - {finding.id for finding in earlier}
    if tally.is_news:
        return tally, new, NEWS
    return tally, new, INTERRUPTED if interrupted else NOTHING


def _pool(folder: Folder) -> Pool | RayPool:
    plan = folder.plan()
    if plan.engine == "ray":
        return RayPool(folder.path, plan.world, plan.address, plan.storage, plan.planners)
    return Pool(folder.path, plan.world, plan.storage, plan.planners)


@contextmanager
def _interruptible() -> Iterator[None]:
    """An interrupt ends the campaign, also where a shell has let it be ignored; so does what a batch system ends by."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, signal.default_int_handler) for each in signals]
    try:
        yield
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)


def keep(folder: Folder, tally: Tally) -> None:
    """Store each finding that is not there, or in another form."""
    for finding in tally.findings.values():
        path = folder.findings() / finding.id
        if not (path / FILE).exists() or read_finding(path) != finding:
            finding.store(folder.findings())


def stored(folder: Folder, tally: Tally) -> list[Finding]:
    """The findings that were there before the campaign."""
    if not folder.plan().findings:
        return []
    paths = sorted(folder.findings().glob(f"*/{FILE}"))
    return [finding for finding in map(read_finding, paths) if finding.id not in tally.findings]


def summary_lines(tally: Tally, new: set[str], folder: Folder) -> Iterator[str]:
    """What a campaign tells at its end: new first, then known, then fixed, and what was left out."""
    plan = folder.plan()
    yield from law_lines(tally)
    yield ""
    shrinking = f", {tally.shrinking} cases to make findings smaller" if tally.shrinking else ""
    yield f"{tally.examples} examples in {tally.elapsed:.0f} s, {tally.behaviours} behaviours{shrinking}"
    for number, name in enumerate(sorted(new, key=lambda name: (tally.findings[name].size, name))):
        finding = tally.findings[name]
        yield f"NEW {name}, {how_often(tally.violations[name])}: {finding.headline}"
        yield f"    {folder.findings() / name}"
        if number < _IN_FULL:
            yield from (f"    {line}" for line in finding.violation.strip().splitlines()[1:])
    for lost in tally.lost:
        yield f"LOST unit {lost.unit} of {lost.law}: its worker {lost.how}"
    for (law, error), count in sorted(tally.errors.items()):
        yield f"ERROR in {count} unit{'s' if count > 1 else ''} of {law}: {error}"
    for name, (state, headline) in sorted(tally.again.items()):
        yield f"{state}: {name}, found before: {headline}"
    if tally.known:
        yield "known issues of torch that were met:"
        yield from known_issue_lines(tally.known)
    if plan.on:
        yield f"{plan.on}:"
        yield from (f"    {line}" for line in plan.left_out)
    if not new:
        yield "nothing new"
