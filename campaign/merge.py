"""Several campaigns as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .folder import Folder
from .logs import Log, Record, read_log
from .status import Refused

__all__ = ["merged"]


def merged(sources: Sequence[Folder], into: Folder) -> Folder:
    """Make a campaign of all that the others did, which are left as they are; raises :class:`Refused`.

    Its time is over: there is nothing left of it to go on with.
    """
    plans = [source.plan() for source in sources]
    seen: dict[tuple[int, int, int], Folder] = {}
    for source, plan in zip(sources, plans, strict=True):
        key = plan.seed, plan.shard, plan.shards
        if key in seen:
            raise Refused(f"{seen[key].path} and {source.path} are the same part of one campaign: leave one out")
        seen[key] = source
    first = plans[0]
    for source, plan in zip(sources, plans, strict=True):
        if plan.storage != first.storage:
            raise Refused(f"{sources[0].path} and {source.path} are on different storages: merge those of one")
        if plan.planners != first.planners:
            raise Refused(f"{sources[0].path} and {source.path} have different planners: merge those of one")
    laws = tuple(dict.fromkeys(law for plan in plans for law in plan.laws))
    workers = sum(plan.workers for plan in plans)
    into.create(replace(first, laws=laws, seconds=0.0, workers=workers, shard=1, shards=1, findings=""))
    for number, source in enumerate(sources):
        with source.held():
            source.recover_all()
            for path in source.logs():
                with Log(into.path / "log" / f"{number:03}-{path.name}") as log:
                    for record in read_log(path):
                        log.append(_renamed(record, str(number)))
    for finding in into.tally().findings.values():
        finding.store(into.findings())
    return into


def _renamed(record: Record, source: str) -> Record:
    """The record, with units that have other names than those of another campaign."""
    if "unit" in record:
        return {**record, "unit": f"{source}/{record['unit']}"}
    return {**record, "source": source}
