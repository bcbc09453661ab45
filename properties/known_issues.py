"""The ledger: what is known to be wrong in released torch, so that it does not hide what is new.

An entry names a *failure*, not a region of scenarios: whatever else goes wrong in the same region is still new. Nothing
is kept from being drawn; a violation that matches an entry is counted and the search goes on. Each entry's minimal
scenario is a test of its own (``tests/test_known_issues.py``), which fails when the installed torch no longer shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from worlds.errors import NEVER_ARRIVES, fault_message
from worlds.outcome import Deadlocked, ErrorRecord, OperationOutcome, Raised
from worlds.scenario import ChunkSharding, Fault, ObjectEntry, Operation, Scenario, Schedule, TensorEntry, WriterOptions

from .ledger import LedgerEntry, torch_release
from .oracle import names_fault
from .verdict import Breach, Verdict
from .violations import BadChunks, Deadlock, Disagreement, LostFailure, UnexpectedFailure, UnprotectedFailure

__all__ = ["KNOWN_ISSUES", "KnownIssue", "find_known_issue", "torch_release"]


@dataclass(frozen=True, kw_only=True)
class KnownIssue(LedgerEntry):
    """An entry for what a scenario shows in a world. ``matches`` gets the verdict and its breach."""

    scenario: Scenario
    matches: Callable[[Verdict, Breach], bool]


def find_known_issue(verdict: Verdict) -> KnownIssue | None:
    """The entry for the verdict's breach, if it is known for the installed torch."""
    if verdict.breach is None:
        return None
    release = torch_release()
    for issue in KNOWN_ISSUES.values():
        if issue.affects(release) and issue.matches(verdict, verdict.breach):
            return issue
    return None


def _operation(verdict: Verdict, breach: Breach) -> OperationOutcome:
    outcome = verdict.outcome.save if breach.operation == "save" else verdict.outcome.load
    assert outcome is not None
    return outcome


def _blamed(outcome: OperationOutcome, phase: str) -> dict[int, ErrorRecord]:
    """Whom every rank blames for that phase, if all ranks say the same; else nobody."""
    said = {(seen.phase, seen.failures) if isinstance(seen, Raised) else None for seen in outcome.ranks}
    if len(said) != 1:
        return {}
    (what,) = said
    return dict(what[1] or ()) if what is not None and what[0] == phase else {}


def _has_chunk_behind_the_end(verdict: Verdict, breach: Breach) -> bool:
    operation = verdict.scenario.save
    if not any(map(_overshoots, verdict.scenario.entries)):
        return False
    if breach.kind is BadChunks:  # in what a rank makes of its state dict alone, without the coordinator's check
        return breach.headline.endswith(" is outside")
    if breach.kind is not UnexpectedFailure or breach.operation != "save":
        return False
    blamed = _blamed(verdict.outcome.save, "plan")
    if set(blamed) != {operation.coordinator}:
        return False
    error = blamed[operation.coordinator]
    said = re.match(r"Failed to validate global plan: key:.* has out of bounds chunk", error.message, re.DOTALL)
    return error.type == "ValueError" and said is not None


def _overshoots(entry: object) -> bool:
    """Whether the last of the equal chunks that a tensor is cut into begins behind its end."""
    if not isinstance(entry, TensorEntry) or entry.saved is None:
        return False
    size, chunks = entry.shape[entry.saved.dim], len(entry.saved.ranks)
    return -(-size // chunks) * (chunks - 1) > size


def _has_dtype_without_size(verdict: Verdict, breach: Breach) -> bool:
    if breach.kind is not UnexpectedFailure or breach.operation != "save":
        return False
    blamed = _blamed(verdict.outcome.save, "plan")
    coordinator = verdict.scenario.save.coordinator
    return (
        set(blamed) == {coordinator}
        and blamed[coordinator].type == "TypeError"
        and blamed[coordinator].message.startswith("torch.iinfo() requires an integer input type")
        and any(isinstance(entry, TensorEntry) and "bits" in entry.dtype for entry in verdict.scenario.entries)
    )


_PICKLING_FAILED = re.compile(r"cannot pickle|__init__\(\) missing 1 required positional argument: 'operation'")


def _raises_what_cannot_travel(verdict: Verdict, breach: Breach) -> bool:
    return "travel" in _left_alone(verdict, breach)


def _fails_in_reset(verdict: Verdict, breach: Breach) -> bool:
    return "reset" in _left_alone(verdict, breach)


def _left_alone(verdict: Verdict, breach: Breach) -> set[str]:
    """How ranks failed without DCP telling the others, if each rank's end is explained by it; else nothing."""
    if breach.kind not in (Deadlock, Disagreement, LostFailure, UnprotectedFailure):
        return set()
    scenario, outcome = verdict.scenario, _operation(verdict, breach)
    sent = any(scenario.faults[hit.index].error in NEVER_ARRIVES for hit in outcome.hits)
    in_reset = {
        fault.rank: index
        for index, fault in enumerate(scenario.faults)
        if fault.operation == breach.operation and fault.place.phase is None
    }
    ways = set()
    for rank, seen in enumerate(outcome.ranks):
        if rank in in_reset and _raised_itself(scenario, in_reset[rank], seen):
            ways.add("reset")
        elif sent and isinstance(seen, Raised) and seen.failures is None and _failed_to_pickle(seen.error):
            ways.add("travel")
        elif rank in in_reset or (isinstance(seen, Raised) and seen.failures is None) or not _waits(seen):
            return set()
    return ways


def _failed_to_pickle(error: ErrorRecord) -> bool:
    return error.type == "TypeError" and _PICKLING_FAILED.search(error.message) is not None


def _waits(seen: object) -> bool:
    """Whether a rank waits for one that left, or was told by a coordinator that could still do so."""
    return isinstance(seen, Deadlocked) or (isinstance(seen, Raised) and bool(seen.failures))


def _raised_itself(scenario: Scenario, index: int, seen: object) -> bool:
    """Whether a rank raised the exception of its own fault, as if there were no other ranks."""
    if not isinstance(seen, Raised):
        return False
    if scenario.faults[index].error == "CheckpointException":
        return seen.phase == fault_message(index) and not seen.failures
    from_text = ErrorRecord("RuntimeError", "str() of the exception raised")
    if scenario.faults[index].error == "StrRaises" and seen.error == from_text:
        return True  # DCP's method logger asks for the text, and so raises what that raises in its stead
    return seen.failures is None and names_fault(scenario, index, seen.error)


def _loses_second_thread(verdict: Verdict, breach: Breach) -> bool:
    scenario, outcome = verdict.scenario, verdict.outcome.save
    if breach.kind is not LostFailure or breach.operation != "save" or scenario.writer.thread_count < 2:
        return False
    named = {rank for seen in outcome.ranks if isinstance(seen, Raised) for rank, _ in seen.failures or ()}
    lost = [hit for hit in outcome.hits if scenario.faults[hit.index].rank not in named]
    return bool(lost) and all(hit.thread and scenario.faults[hit.index].hook == "planner.resolve_data" for hit in lost)


_ISSUES = (
    KnownIssue(
        id="chunk-behind-the-end",
        title="a tensor with fewer rows than its ChunkShardingSpec's equal chunks need cannot be saved",
        loses="a legal sharding cannot be checkpointed at all: 1 row over 3 ranks, 5 over 4, 9 over 8",
        scenario=Scenario(entries=(TensorEntry("a", (1,), saved=ChunkSharding(0, (0, 0, 0))),)),
        matches=_has_chunk_behind_the_end,
    ),
    KnownIssue(
        id="bits-dtypes",
        title="a tensor of a bits dtype cannot be saved, although torch.save can: its size is asked of torch.iinfo",
        loses="a state dict with one such tensor cannot be checkpointed, whatever else it holds",
        scenario=Scenario(entries=(TensorEntry("a", dtype="bits8"),)),
        matches=_has_dtype_without_size,
    ),
    KnownIssue(
        id="unpicklable-exception",
        title="a rank whose exception cannot be pickled, or unpickled, leaves the others waiting for ever",
        loses="the job hangs until its watchdog fires, and the rank that failed is never named",
        scenario=Scenario(
            save=Operation(2), load=Operation(2), faults=(Fault("save", 1, "writer.write_data", "Unpicklable"),)
        ),
        matches=_raises_what_cannot_travel,
    ),
    KnownIssue(
        id="reset-unprotected",
        title="a rank whose storage fails in reset() leaves the others waiting for ever",
        loses="the job hangs until its watchdog fires, and the rank that failed is named to itself alone",
        scenario=Scenario(save=Operation(2), load=Operation(2), faults=(Fault("save", 1, "writer.reset"),)),
        matches=_fails_in_reset,
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
    ),
)

KNOWN_ISSUES: dict[str, KnownIssue] = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
