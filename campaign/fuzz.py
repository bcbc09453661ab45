"""A campaign from its beginning, or from where it was killed, to what it tells at its end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from properties.databases import is_redis
from properties.summary import known_issue_lines

from .engine import Engine
from .finding import FILE, Finding, read_finding
from .folder import Folder
from .pool import Pool
from .progress import Progress, law_lines
from .ray_pool import RayPool
from .shared import SharedFindings
from .status import INTERRUPTED, NEWS, NOTHING
from .tally import Tally, how_often

__all__ = ["go_on", "summary_lines"]

_IN_FULL = 3
"""Findings whose scenario the summary shows: the smallest."""


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
