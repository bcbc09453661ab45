"""Known issues of what is left of a checkpoint when the power fails after its save has reported success."""

from __future__ import annotations

from worlds.file_faults import FileFault
from worlds.operations import WriterOptions
from worlds.outcome import ErrorRecord, Raised
from worlds.scenario import Scenario

from ..verdict import Breach, Verdict
from ..violations import MetadataUnreadable, UnexpectedFailure
from .entry import KnownIssue

__all__ = ["ISSUES"]

_ENDS_EARLY = ("Ran out of input", "pickle data was truncated")


def _loses_metadata(verdict: Verdict, breach: Breach) -> bool:
    """Whether metadata end before they should, and nothing else is wrong, of ranks that have lost some of theirs."""
    scenario, outcome = verdict.scenario, verdict.outcome
    struck = [scenario.file_faults[hit.index] for hit in outcome.save.hits if scenario.file_faults]
    lost = {fault.rank for fault in struck if (fault.call, fault.error) == ("metadata.fsync", "lost")}
    if breach.kind is MetadataUnreadable:
        return bool(lost) and outcome.metadata_error is not None and _ends_early(outcome.metadata_error)
    if breach.kind is not UnexpectedFailure or outcome.load is None or scenario.save.coordinated:
        return False
    # Each rank has metadata of its own, and is blamed for those.
    failures = [failure for seen in outcome.load.ranks if isinstance(seen, Raised) for failure in seen.failures or ()]
    return bool(failures) and all(rank in lost and _ends_early(error) for rank, error in failures)


def _ends_early(error: ErrorRecord) -> bool:
    return error.message.endswith(_ENDS_EARLY)


ISSUES = (
    KnownIssue(
        id="metadata-synced-before-written",
        title="FileSystemWriter(sync_files=True), the default, syncs the metadata while they are in Python's buffer",
        loses="after a power failure the metadata of a checkpoint that was reported as saved may be empty",
        scenario=Scenario(
            writer=WriterOptions(sync_files=True), file_faults=(FileFault("save", 0, "metadata.fsync", "lost"),)
        ),
        matches=_loses_metadata,
        upstream="pytorch/pytorch#183878",
        fixed_in=(2, 15),
    ),
)
