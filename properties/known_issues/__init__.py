"""The ledger: what is known to be wrong in released torch, so that it does not hide what is new.

An entry names a *failure*, not a region of scenarios: whatever else goes wrong in the same region is still new. Nothing
is kept from being drawn; a violation that matches an entry is counted and the search goes on. Each entry's minimal
scenario is a test of its own (``tests/test_known_issues.py``), which fails when the installed torch no longer shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from worlds.outcome import Raised

from ..judge import judge_load, judge_save
from ..ledger import first_match
from ..verdict import Verdict
from ..violations import UnexpectedFailure, WrongRanks
from . import (
    asking,
    blame,
    consolidated,
    durability,
    extensions,
    foreign,
    formatted,
    leftovers,
    loading,
    planning,
    safetensors,
    staging,
    targets,
    uncoordinated,
)
from .entry import KnownIssue, blamed, operation_outcome
from .foreign import ForeignIssue

__all__ = ["FOREIGN_ISSUES", "KNOWN_ISSUES", "ForeignIssue", "KnownIssue", "find_known_issue"]

KNOWN_ISSUES: dict[str, KnownIssue] = {
    issue.id: issue
    for module in (
        planning,
        asking,
        loading,
        targets,
        staging,
        uncoordinated,
        blame,
        durability,
        extensions,
        leftovers,
        safetensors,
        consolidated,
        formatted,
    )
    for issue in module.ISSUES
}
"""The entries by their id."""


FOREIGN_ISSUES: dict[str, ForeignIssue] = {issue.id: issue for issue in foreign.ISSUES}
"""Those of storages from elsewhere."""


def find_known_issue(verdict: Verdict) -> KnownIssue | ForeignIssue | None:
    """The entry for the verdict's breach, if it is known for the installed torch."""
    breach = verdict.breach
    if breach is None:
        return None
    entries: list[KnownIssue | ForeignIssue] = [*KNOWN_ISSUES.values(), *FOREIGN_ISSUES.values()]
    known = first_match(entries, lambda issue: issue.matches(verdict, breach))
    return _known_of_each_rank(verdict) if known is None else known


def _known_of_each_rank(verdict: Verdict) -> KnownIssue | ForeignIssue | None:
    """Where several ranks fail that should not, each alone as an entry says: the entry for the first of them."""
    apart = list(_apart(verdict))
    found = [find_known_issue(alone) for alone in apart] if len(apart) > 1 else []
    return next(iter(found), None) if all(found) else None


def _apart(verdict: Verdict) -> Iterator[Verdict]:
    """What would be said if one alone of the ranks had failed that should not have, for each of them."""
    breach, scenario = verdict.breach, verdict.scenario
    if breach is None or breach.kind not in (UnexpectedFailure, WrongRanks) or scenario.request_faults:
        return
    outcome = operation_outcome(verdict, breach)
    seen = outcome.ranks[0]
    expectation = verdict.expectation.save if breach.operation == "save" else verdict.expectation.load
    if not isinstance(seen, Raised) or expectation is None:
        return
    here = [stage for stage in expectation.stages if stage.phase in (None, seen.phase)]
    due = {rank for stage in here for rank in (*stage.certain, *stage.possible)}
    named = blamed(outcome, seen.phase or "")
    for rank in sorted(named.keys() - due):
        failures = tuple((who, error) for who, error in named.items() if who == rank or who in due)
        ranks = tuple(replace(each, failures=failures) for each in outcome.ranks if isinstance(each, Raised))
        alone = replace(outcome, ranks=ranks)
        if breach.operation == "save":
            yield judge_save(scenario, replace(verdict.outcome, save=alone))
        else:
            yield judge_load(scenario, replace(verdict.outcome, load=alone))
