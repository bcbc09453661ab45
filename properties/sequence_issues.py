"""The ledger of what goes wrong in released torch in saves that follow each other, and the check that knows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from strategies.case_features import case_features
from worlds import Fault, Operation, ProcessWorld, Scenario, TensorEntry
from worlds.outcome import MetadataRecord, OperationOutcome, Raised
from worlds.processes.sequences import run_sequence
from worlds.sequences import SaveSequence
from worlds.state_tree import Unit

from .check import KNOWN_HITS
from .history_issues import HISTORY_ISSUES, fails_without_final_plan
from .judge_sequence import SequenceBreach, compare_caching, without_places
from .judged import count_judged
from .known_issues.entry import blamed
from .ledger import LedgerEntry, first_match

__all__ = ["SEQUENCE_ISSUES", "SequenceIssue", "check_sequence", "find_sequence_issue"]


@dataclass(frozen=True, kw_only=True)
class SequenceIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of saves that follow each other."""

    sequence: SaveSequence
    matches: Callable[[SequenceBreach], bool]


def check_sequence(sequence: SaveSequence, world: ProcessWorld) -> None:
    """Raise the violation if caching shows, unless it is a known issue; that is counted."""
    __tracebackhide__ = True
    count_judged(case_features(sequence))
    plain, cached = (run_sequence(world, sequence, caching=caching) for caching in (False, True))
    breach = compare_caching(sequence, plain, cached)
    if breach is None:
        return
    known = find_sequence_issue(breach)
    if known is None:
        breach.violation().throw()
    KNOWN_HITS[known.id] += 1


def find_sequence_issue(breach: SequenceBreach) -> LedgerEntry | None:
    """The entry for the breach, of this ledger or that of histories, if it is known for the installed torch."""
    known = first_match(SEQUENCE_ISSUES.values(), lambda issue: issue.matches(breach))
    if known is None and any(step.faults for step in breach.sequence.steps[: breach.step]):
        after_failure = HISTORY_ISSUES["cached-plans-after-failure"]
        faults = breach.sequence.steps[breach.step].faults
        return first_match([after_failure], lambda _: fails_without_final_plan(breach.cached.save, faults))
    return known


def _keeps_older_dtype(breach: SequenceBreach) -> bool:
    """Whether the metadata have, for a tensor, the dtype that it had in an earlier step, and are else the same."""
    metadata, steps = breach.cached.metadata, breach.sequence.steps
    if metadata is None or not breach.cached.save.returned:
        return False
    now, *before = [_dtypes(step) for step in (steps[breach.step], *steps[: breach.step])]
    stale = {record.fqn: record.dtype for record in metadata.tensors if now.get(record.fqn) != record.dtype}
    if not stale or not all(any(old.get(fqn) == dtype for old in before) for fqn, dtype in stale.items()):
        return False
    true = breach.plain.metadata
    if true is None:  # the true dtype cannot be saved at all, which without caching is said
        return not breach.plain.save.returned
    corrected = tuple(replace(record, dtype=now.get(record.fqn, record.dtype)) for record in metadata.tensors)
    return without_places(replace(metadata, tensors=corrected)) == without_places(true)


def _takes_plan_of_failed_save(breach: SequenceBreach) -> bool:
    """Whether a save is given what ranks had planned in one that failed when the coordinator had planned it.

    Ranks that have gone back to what they had planned before say that nothing has changed, and the coordinator takes
    what it knows. Then it finds the mixture invalid, or those ranks lack what they are to write, or the metadata tell
    of what the failed save had.
    """
    steps = breach.sequence.steps
    known = [index for index, outcome in enumerate(breach.before) if _is_planned(steps[index], outcome.save)]
    if not known or not breach.plain.save.returned:
        return False
    last, now = steps[known[-1]], steps[breach.step]
    back = _gone_back(breach, known)
    save = breach.cached.save
    if not save.returned:
        lacking = blamed(save, "write").keys()
        return bool(back) and (_is_invalid(save) or (bool(lacking) and lacking <= back))
    names = {item[0] for rank in back for item in _planned(last, rank) ^ _planned(now, rank)}
    told = _told_otherwise(breach.plain.metadata, breach.cached.metadata)
    return bool(told) and told <= names


def _gone_back(breach: SequenceBreach, known: Sequence[int]) -> set[int]:
    """The ranks that plan what they have cached, and not what they had planned in the last of the ``known`` saves."""
    steps, found = breach.sequence.steps, set()
    last, now = steps[known[-1]], steps[breach.step]
    for rank in range(now.save.world_size):
        kept = [index for index in known if _keeps_plan(steps[index], breach.before[index].save, rank)]
        if kept and _planned(steps[kept[-1]], rank) == _planned(now, rank) != _planned(last, rank):
            found.add(rank)
    return found


def _told_otherwise(true: MetadataRecord | None, seen: MetadataRecord | None) -> set[str]:
    """The names of what only one of the metadata have, or have otherwise."""
    if true is None or seen is None:
        return set()
    return {record.fqn for record in {*true.tensors} ^ {*seen.tensors}} | ({*true.objects} ^ {*seen.objects})


def _is_invalid(save: OperationOutcome) -> bool:
    said = (error.message for error in blamed(save, "plan").values())
    return any(message.startswith("Failed to validate global plan: ") for message in said)


def _is_planned(step: Scenario, save: OperationOutcome) -> bool:
    """Whether the coordinator has cached what it was told, even if what it makes of it is not valid."""
    if _goes_on_to_write(save):
        return True
    return _is_invalid(save) or any(step.faults[hit.index].hook == "writer.prepare_global_plan" for hit in save.hits)


def _keeps_plan(step: Scenario, save: OperationOutcome, rank: int) -> bool:
    """Whether the rank has cached what it told the coordinator, which it does when it finishes its plan."""
    failed = {(step.faults[hit.index].rank, step.faults[hit.index].hook) for hit in save.hits}
    return _goes_on_to_write(save) and (rank, "planner.finish_plan") not in failed


def _goes_on_to_write(save: OperationOutcome) -> bool:
    return save.returned or all(isinstance(seen, Raised) and seen.phase == "write" for seen in save.ranks)


def _planned(step: Scenario, rank: int) -> frozenset[tuple[object, ...]]:
    """What a rank plans to save, as far as plans are compared, which is without dtypes."""
    return frozenset(item for unit in step.units("save") if unit.is_on("save", rank) for item in _items(unit, rank))


def _items(unit: Unit, rank: int) -> Iterator[tuple[object, ...]]:
    """One for an object, and for each shard of a tensor that the rank has."""
    if unit.tensor is None or unit.tensor.saved is None:
        yield (unit.fqn,)
    else:
        yield from ((unit.fqn, unit.tensor.shape, part) for part in unit.tensor.saved.parts(unit.tensor.shape, rank))


def _dtypes(step: Scenario) -> dict[str, str]:
    return {str(entry.key): entry.dtype for entry in step.entries if isinstance(entry, TensorEntry)}


_ISSUES = (
    SequenceIssue(
        id="cached-plan-dtype",
        title="with enable_plan_caching, a tensor whose dtype changed is saved with the dtype of an earlier save",
        loses="the metadata lie about what is in the files, after a model was cast, and whoever trusts them goes wrong",
        sequence=SaveSequence(
            (
                Scenario((TensorEntry("a"),), save=Operation(), load=Operation()),
                Scenario((TensorEntry("a", dtype="float64"),), save=Operation(), load=Operation()),
            )
        ),
        matches=_keeps_older_dtype,
    ),
    SequenceIssue(
        id="cached-plans-of-failed-save",
        title="with enable_plan_caching, a save that goes back to an older plan gets that of a failed one in between",
        loses="one failure, and a checkpoint that was reported as saved has the metadata of another, or lacks entries",
        sequence=SaveSequence(
            (
                Scenario((TensorEntry("a", (1,)),)),
                Scenario((TensorEntry("a", (2,)),), faults=(Fault("save", 0, "writer.prepare_global_plan"),)),
                Scenario((TensorEntry("a", (1,)),)),
            )
        ),
        matches=_takes_plan_of_failed_save,
    ),
)

SEQUENCE_ISSUES: dict[str, SequenceIssue] = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
