"""Known issues of saves over an earlier checkpoint at the same path, one of the two without collectives."""

from __future__ import annotations

from worlds.entries import TensorEntry
from worlds.file_faults import FileFault
from worlds.operations import Operation
from worlds.outcome import Raised, Returned
from worlds.scenario import Scenario

from ..file_reach import told_hits
from ..verdict import Breach, Verdict
from ..violations import WrongBits, WrongException, WrongObject, WrongRanks
from .entry import FAILED, KnownIssue, is_due, operation_outcome

__all__ = ["ISSUES"]

_OTHERWISE = (*FAILED, WrongException, WrongRanks)


def _reads_its_own(verdict: Verdict, breach: Breach) -> bool:
    """Whether ranks that failed to read the metadata of the whole, and do not say so, are all who went on or fail.

    But for those who rightly refuse something.
    """
    scenario = verdict.scenario
    if breach.operation != "load" or breach.kind not in _OTHERWISE or not scenario.save.coordinated:
        return False
    if scenario.earlier != "uncoordinated":
        return False
    outcome = operation_outcome(verdict, breach)
    hits = told_hits(scenario, outcome.hits) if scenario.file_faults else []
    struck = [scenario.file_faults[hit.index] for hit in hits]
    failing = {fault.rank for fault in struck}
    went_on = {fault.rank for fault in struck if fault.call.startswith("metadata.")}
    for seen in outcome.ranks:
        for rank, error in (seen.failures or ()) if isinstance(seen, Raised) else ():
            if rank not in failing and not is_due(scenario, "load", rank, error):
                return False
            if "rank local metadata read failed" in error.message:
                went_on.discard(rank)
    return bool(went_on)


def _reads_earlier(verdict: Verdict, breach: Breach) -> bool:
    """Whether a load has read metadata of the whole after a save without collectives, and finds by them what is else.

    Or ranks of which some could not read them, and those read their own.
    """
    scenario = verdict.scenario
    found = verdict.outcome.metadata is not None and not scenario.save.coordinated
    if not found or breach.operation != "load" or scenario.earlier != "coordinated":
        return False
    displaced = _displaced(verdict)
    if breach.kind in (WrongBits, WrongObject):
        units = scenario.units("load")
        return any(unit.fqn in displaced for unit in units if breach.path[: len(unit.path)] == unit.path)
    hits = operation_outcome(verdict, breach).hits if scenario.file_faults else ()
    apart = any(scenario.file_faults[hit.index].call.startswith("metadata.") for hit in hits)
    return breach.kind in _OTHERWISE and (bool(displaced) or apart)


def _displaced(verdict: Verdict) -> set[str]:
    """The names of what is somewhere else than the metadata of the whole say, on whatever rank."""
    outcome = verdict.outcome
    returned = [
        seen.metadata for seen in outcome.save.ranks if isinstance(seen, Returned) and seen.metadata is not None
    ]
    there = {record for metadata in returned for record in metadata.storage}
    said = () if outcome.metadata is None else outcome.metadata.storage
    return {record.fqn for record in said if record not in there}


ISSUES = (
    KnownIssue(
        id="falls-back-to-older-metadata",
        title="a rank that fails to read .metadata takes what an older save without collectives has left",
        loses="one read fails once, and a load hangs, or reports success with tensors that have changed places",
        scenario=Scenario(
            save=Operation(2),
            load=Operation(2),
            file_faults=(FileFault("load", 0, "metadata.open"),),
            earlier="uncoordinated",
        ),
        matches=_reads_its_own,
    ),
    KnownIssue(
        id="older-metadata-preferred",
        title="what is saved with use_collectives=False over a checkpoint is loaded by the older one's metadata",
        loses="a load reports success with tensors that have changed places, or finds no tensor where one should be",
        scenario=Scenario(
            (TensorEntry("a"), TensorEntry("b")),
            Operation(2, api="uncoordinated"),
            Operation(2),
            earlier="coordinated",
        ),
        matches=_reads_earlier,
    ),
)
