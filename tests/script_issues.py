"""Which entries of the ledger have a script, and why the others have none yet."""

from __future__ import annotations

from properties.known_issues import KNOWN_ISSUES

__all__ = ["REFUSED", "WRITTEN"]

REFUSED: dict[str, str] = {
    "empty-chunk-in-the-way": "there is no script for a scenario with EnumerableSharding yet",
    "staging-checkpointable": "there is no script for a scenario with EnumerableSharding yet",
    "uncoordinated-overwrite": "there is no script for a race: with use_collectives=False, ranks overtake each other",
}
"""What the writer says of an entry that it does not write."""

WRITTEN = [issue for issue in KNOWN_ISSUES.values() if issue.id not in REFUSED]
"""The entries that have a script."""
