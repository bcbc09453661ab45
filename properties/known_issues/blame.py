"""Known issues of blame: failures that are lost, that hang, or that name nobody."""

from __future__ import annotations

from worlds.entries import Nested, ObjectEntry
from worlds.faults import Fault
from worlds.operations import Operation, Schedule, WriterOptions
from worlds.outcome import ErrorRecord, Hit, OperationOutcome, Raised
from worlds.scenario import Scenario

from ..file_reach import told_hits
from ..oracle import names_fault
from ..verdict import Breach, Verdict
from ..violations import LostFailure, PassedFailure, UnexpectedFailure, WrongException, WrongRanks
from .alone import ends_alone
from .entry import KnownIssue, blamed

__all__ = ["ISSUES", "fails_after_lost_thread"]


def _loses_second_thread(verdict: Verdict, breach: Breach) -> bool:
    scenario, outcome = verdict.scenario, verdict.outcome.save
    if breach.operation != "save" or scenario.writer.thread_count < 2:
        return False
    if breach.kind in (UnexpectedFailure, WrongException, WrongRanks, PassedFailure):
        return fails_after_lost_thread(scenario, outcome)
    if breach.kind is not LostFailure:
        return False
    named = {rank for seen in outcome.ranks if isinstance(seen, Raised) for rank, _ in seen.failures or ()}
    hits = told_hits(scenario, outcome.hits)
    lost = [hit for hit in hits if scenario.all_faults[hit.index].rank not in named]
    return bool(lost) and all(_is_of_second_thread(scenario, hit) for hit in lost)


def fails_after_lost_thread(scenario: Scenario, outcome: OperationOutcome) -> bool:
    """Whether a save went on after it had lost what a thread raised, and failed of what was reached next alone."""
    named = blamed(outcome, "write")
    told = [hit for hit in outcome.hits if _is_blamed(scenario, hit, named)]
    lost = [hit for hit in told_hits(scenario, outcome.hits) if hit not in told]
    explained = {scenario.all_faults[hit.index].rank for hit in told}
    coordinator = scenario.save.coordinator
    if scenario.storage == "consolidated" and coordinator in named and coordinator not in explained:
        # It makes files of what the ranks wrote, one of which the thread has left empty.
        empty = named[coordinator].message == "unpack requires a buffer of 8 bytes"
        explained |= {coordinator} if empty else set()
    return set(named) == explained and bool(named and lost) and all(_is_of_second_thread(scenario, hit) for hit in lost)


def _is_blamed(scenario: Scenario, hit: Hit, named: dict[int, ErrorRecord]) -> bool:
    rank = scenario.all_faults[hit.index].rank
    return rank in named and names_fault(scenario, hit.index, named[rank])


def _is_of_second_thread(scenario: Scenario, hit: Hit) -> bool:
    hook = scenario.all_faults[hit.index].hook
    return hit.thread and (hook == "planner.resolve_data" or hook.startswith("data."))


ISSUES = (
    KnownIssue(
        id="unpicklable-exception",
        title="a rank whose exception cannot be pickled, or unpickled, leaves the others waiting for ever",
        loses="the job hangs until its watchdog fires, and the rank that failed is never named",
        scenario=Scenario(
            save=Operation(2), load=Operation(2), faults=(Fault("save", 1, "writer.write_data", "Unpicklable"),)
        ),
        matches=ends_alone("unpicklable-exception"),
    ),
    KnownIssue(
        id="reset-unprotected",
        title="a rank whose storage fails in reset() leaves the others waiting for ever",
        loses="the job hangs until its watchdog fires, and the rank that failed is named to itself alone",
        scenario=Scenario(save=Operation(2), load=Operation(2), faults=(Fault("save", 1, "writer.reset"),)),
        matches=ends_alone("reset-unprotected"),
    ),
    KnownIssue(
        id="stateful-unprotected",
        title="a rank whose Stateful object fails, in state_dict() or load_state_dict(), leaves the others alone",
        loses="the job hangs, or goes on with one rank that has not taken over what was loaded",
        scenario=Scenario(
            entries=(Nested("a", "stateful"),),
            save=Operation(2),
            load=Operation(2),
            faults=(Fault("save", 1, "stateful.state_dict"),),
        ),
        matches=ends_alone("stateful-unprotected"),
    ),
    KnownIssue(
        id="uncoordinated-unprotected",
        title="with use_collectives=False no failure is told to other ranks, which wait for ever in a barrier",
        loses="the job hangs until its watchdog fires, and the rank that failed is named to itself alone",
        scenario=Scenario(
            save=Operation(2, api="uncoordinated"), load=Operation(2), faults=(Fault("save", 1, "writer.write_data"),)
        ),
        matches=ends_alone("uncoordinated-unprotected"),
        documented=True,
    ),
    KnownIssue(
        id="second-writer-thread",
        title="FileSystemWriter(thread_count=2) loses what its second thread raises, and reports success",
        loses="a checkpoint that was reported as saved lacks entries",
        scenario=Scenario(
            entries=(ObjectEntry("a"),),
            save=Operation(schedule=Schedule(threads_first=True)),
            writer=WriterOptions(thread_count=2),
            faults=(Fault("save", 0, "planner.resolve_data"),),
        ),
        matches=_loses_second_thread,
        upstream="pytorch/pytorch#191391",
        shows_in=("simulated",),  # where threads run as the system likes, the first one may do all the work
    ),
)
