"""Which entries of the ledger have a script, and why the others have none yet."""

from __future__ import annotations

from properties.known_issues import KNOWN_ISSUES

__all__ = ["REFUSED", "WRITTEN"]

REFUSED: dict[str, str] = {
    "empty-chunk-in-the-way": "there is no script for a scenario with EnumerableSharding yet",
    "dtype-cast": "there is no script yet for an entry that is not loaded: 'a'",
    "object-into-tensor": "there is no script yet for an entry that is not loaded: 'a'",
    "unflattened-objects": "there is no script for a scenario with PlannerOptions.flatten_state_dict=False yet",
    "staging-checkpointable": "there is no script for a scenario with EnumerableSharding yet",
    "uncoordinated-overwrite": "there is no script for a scenario with WriterOptions.overwrite=False yet",
    "uncoordinated-no-shard": "there is no script for the API 'uncoordinated' yet",
    "stateful-unprotected": "there is no script for a scenario in which a stateful fails at save yet",
    "uncoordinated-unprotected": "there is no script for the API 'uncoordinated' yet",
}
"""What the writer says of an entry that it does not write."""

WRITTEN = [issue for issue in KNOWN_ISSUES.values() if issue.id not in REFUSED]
"""The entries that have a script."""
