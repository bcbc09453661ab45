"""What a run says at its end: what was judged, the known issues that it met, and which hooks were really hit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields

from worlds.hooks import HOOKS
from worlds.operations import PlannerOptions
from worlds.planners import find_planners
from worlds.storages import find_storage

from .damage_issues import DAMAGE_ISSUES
from .history_issues import HISTORY_ISSUES
from .judged import JUDGED
from .killed_issues import KILLED_ISSUES
from .known_issues import FOREIGN_ISSUES, KNOWN_ISSUES
from .ledger import LedgerEntry
from .misuse_issues import MISUSE_ISSUES
from .planning.known_issues import PLANNING_ISSUES
from .quantized_issues import QUANTIZED_ISSUES
from .rebuilding_issues import REBUILDING_ISSUES
from .route_issues import ROUTE_ISSUES
from .sequence_issues import SEQUENCE_ISSUES
from .side_by_side_issues import SIDE_BY_SIDE_ISSUES
from .training import MISFIT_ISSUES
from .training.known_issues import TRAINING_ISSUES

__all__ = ["ENTRIES", "fault_table", "feature_table", "known_issue_lines", "known_issue_table", "left_out_lines"]

ENTRIES: Mapping[str, LedgerEntry] = {
    **KNOWN_ISSUES,
    **KILLED_ISSUES,
    **DAMAGE_ISSUES,
    **SEQUENCE_ISSUES,
    **HISTORY_ISSUES,
    **TRAINING_ISSUES,
    **REBUILDING_ISSUES,
    **ROUTE_ISSUES,
    **QUANTIZED_ISSUES,
    **MISUSE_ISSUES,
    **MISFIT_ISSUES,
    **SIDE_BY_SIDE_ISSUES,
    **PLANNING_ISSUES,
    **FOREIGN_ISSUES,
}
"""The entries of all ledgers by their id."""


def known_issue_lines(hits: Mapping[str, int]) -> Iterator[str]:
    """A line for each known issue that was met, the most frequent first."""
    for name, count in sorted(hits.items(), key=lambda hit: (-hit[1], hit[0])):
        issue = ENTRIES[name]
        upstream = f" ({issue.upstream})" if issue.upstream else ""
        yield f"{count:6} × {name}: {issue.title}{upstream}"


def known_issue_table() -> Iterator[str]:
    """Every entry of every ledger, as lines of a Markdown table."""
    yield "| entry | what a user loses |"
    yield "| --- | --- |"
    for issue in ENTRIES.values():
        upstream = ""
        if issue.upstream is not None:
            repository, _, number = issue.upstream.rpartition("#")
            name = repository.rpartition("/")[2]
            upstream = f" ([{name}#{number}](https://github.com/{repository}/issues/{number}))"
        yield f"| `{issue.id}` | {issue.loses}{upstream}{' (documented)' if issue.documented else ''} |"


def feature_table(hits: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """How often a case with each feature was judged, as lines of a Markdown table with a row for each group."""
    yield "| what | how often it was judged |"
    yield "| --- | --- |"
    for group, names in JUDGED.items():
        others = (name for of, name in sorted(hits) if of == group and name not in names)  # storages from elsewhere
        counted = ", ".join(f"{name} {hits.get((group, name), 0)}" for name in (*names, *others))
        yield f"| {group} | {counted} |"


_LIMITS = {
    "dtypes": "tensors of other dtypes than",
    "objects": "what is no tensor",
    "by_many": "saves by several ranks",
    "overwrites": "saves to where another was made",
    "options": "options of a writer other than",
    "uncoordinated": "saves with use_collectives=False",
    "stages": "async_save without a stager of its own",
    "processes": "ranks that are processes",
    "metadata": "the law on metadata",
}
"""What is not judged on a storage, by the limit that it declares."""


def left_out_lines(storage: str, planners: str, skipped: Collection[str]) -> Iterator[str]:
    """What was not judged on the storage and the planners that a run has chosen, if it has: what they do not support,
    and laws of other things."""
    if storage:
        yield from _not_on(storage)
    if planners:
        left_out = [field.name for field in fields(PlannerOptions) if field.name not in find_planners(planners).options]
        if left_out:
            yield f"not supported: options of a planner {', '.join(left_out)}"
    if skipped:
        kind = "storages" if storage else "planners"
        yield f"not of {kind}, and so skipped: {', '.join(sorted(skipped))}"


def _not_on(storage: str) -> Iterator[str]:
    found = find_storage(storage)
    for limit, text in _LIMITS.items():
        value = getattr(found.limits, limit)
        if isinstance(value, tuple):
            yield f"not supported: {text} {', '.join(value) or 'none'}"
        elif value is False:
            yield f"not supported: {text}"
    if found.files is None:
        yield "not judged: operations on files that fail, since it does not ask for them as DCP or fsspec does"
    if found.endpoint is None:
        yield "not judged: requests to a server that fail, for which it would have an endpoint"


def fault_table(hits: Counter[tuple[str, str, str, str]]) -> Iterator[str]:
    """How often each hook was hit: (operation, hook, ``call`` or ``future``, ``coordinator`` or ``rank``) to count."""
    yield f"{'operation and hook':36} {'through':8} {'coordinator':>11} {'other ranks':>11}"
    for operation, name in HOOKS:
        hook = HOOKS[operation, name]
        for through in ("call", "future") if hook.future else ("call",):
            coordinator = hits[operation, name, through, "coordinator"]
            others = "-" if hook.role == "coordinator" else str(hits[operation, name, through, "rank"])
            yield f"{operation + ' ' + name:36} {through:8} {coordinator:11} {others:>11}"
