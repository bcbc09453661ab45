"""The ledger: what is known to be wrong in released torch, so that it does not hide what is new.

An entry names a *failure*, not a region of scenarios: whatever else goes wrong in the same region is still new. Nothing
is kept from being drawn; a violation that matches an entry is counted and the search goes on. Each entry's minimal
scenario is a test of its own (``tests/test_known_issues.py``), which fails when the installed torch no longer shows it.
"""

from __future__ import annotations

from ..ledger import first_match
from ..verdict import Verdict
from . import blame, durability, foreign, leftovers, loading, planning, safetensors, staging, uncoordinated
from .entry import KnownIssue
from .foreign import ForeignIssue

__all__ = ["FOREIGN_ISSUES", "KNOWN_ISSUES", "ForeignIssue", "KnownIssue", "find_known_issue"]

KNOWN_ISSUES: dict[str, KnownIssue] = {
    issue.id: issue
    for module in (planning, loading, staging, uncoordinated, blame, durability, leftovers, safetensors)
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
    return first_match(entries, lambda issue: issue.matches(verdict, breach))
