"""The ledger of what goes wrong in released torch in the course of a history, and the check that knows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

from strategies.case_features import case_features
from strategies.file_features import file_features
from worlds.entries import TensorEntry
from worlds.example import ExampleWorld
from worlds.faults import Fault
from worlds.file_faults import FileFault
from worlds.histories import History, HistoryOutcome, Load, Save
from worlds.layouts import ChunkSharding
from worlds.operations import Operation, PlannerOptions
from worlds.outcome import OperationOutcome, Raised
from worlds.parts import Part
from worlds.run_history import run_history
from worlds.storages import lies_open

from .check import KNOWN_HITS
from .history_entry import HistoryIssue
from .history_states import others_held, saves_seen
from .judge_history import AtAnotherPlace, HistoryBreach, MemoryShows, UnderAnotherName, judge_history
from .judge_killed import MixedCheckpoint
from .judge_side_by_side import differing_ranks
from .judged import count_judged
from .known_issues import find_known_issue
from .ledger import LedgerEntry, first_match
from .oracle import mentions_fault
from .side_by_side_issues import SIDE_BY_SIDE_ISSUES
from .stored_history_issues import STORED_HISTORY_ISSUES
from .violations import NotLoaded, WrongBits

__all__ = [
    "HISTORY_ISSUES",
    "HistoryIssue",
    "check_history",
    "fails_without_final_plan",
    "find_history_breaches",
    "find_history_issue",
]


def check_history(history: History, world: ExampleWorld) -> None:
    """Raise the violation if a law breaks at a step, unless it is a known issue; that is counted."""
    __tracebackhide__ = True
    outcome = run_history(world, history)
    count_judged(case_features(history))
    _count_file_faults(history, outcome)
    for breach in _judged(history, outcome, world):
        known = find_history_issue(breach)
        if known is None:
            breach.violation().throw()
        KNOWN_HITS[known.id] += 1


def find_history_breaches(history: History, world: ExampleWorld) -> tuple[HistoryBreach, ...]:
    """Run the history and judge it; where plans are cached, say whether it is that."""
    return _judged(history, run_history(world, history), world)


def _count_file_faults(history: History, outcome: HistoryOutcome) -> None:
    for index, seen in enumerate(outcome.steps):
        step = history.steps[index]
        if step.file_faults:
            count_judged(file_features(history.scenario(index), step.name, seen.operation.hits))


def _judged(history: History, outcome: HistoryOutcome, world: ExampleWorld) -> tuple[HistoryBreach, ...]:
    breaches = judge_history(history, outcome)
    if not breaches or not history.planner.enable_plan_caching:
        return breaches
    uncached = replace(history, planner=replace(history.planner, enable_plan_caching=False))
    others = judge_history(uncached, run_history(world, uncached))
    return tuple(_beside_uncached(breach, others) for breach in breaches)


def _beside_uncached(breach: HistoryBreach, others: Sequence[HistoryBreach]) -> HistoryBreach:
    """The breach, with what is said of it by the breaches of the same history without caching.

    What breaks there in another way is not what breaks with it. But until that step it must be known, or caching would
    take the blame for something new.
    """
    until = [other for other in others if other.step <= breach.step]
    same = (breach.step, breach.kind, breach.headline)
    twin = next((other for other in until if (other.step, other.kind, other.headline) == same), None)
    if twin is not None:
        return replace(breach, uncached=twin)
    new = [other for other in until if find_history_issue(other) is None]
    told = tuple(f"uncached  step {other.step + 1}: {other.kind.__name__}: {other.headline}" for other in new)
    return replace(breach, goes_without_caching=not new, detail=(*breach.detail, *told))


def find_history_issue(breach: HistoryBreach) -> LedgerEntry | None:
    """The entry for the breach, of this ledger or that of scenarios, if it is known for the installed torch."""
    for verdict in (breach.verdict, *breach.others):
        known = None if verdict is None else find_known_issue(verdict)
        if known is not None:
            return known
    if breach.goes_without_caching and _saves_another_state(breach):
        return first_match([SIDE_BY_SIDE_ISSUES["caching-across-saves"]], lambda _: True)
    of_histories = first_match(HISTORY_ISSUES.values(), lambda issue: issue.matches(breach))
    if of_histories is None and breach.uncached is not None:
        return find_history_issue(breach.uncached)
    return of_histories


def _saves_before(breach: HistoryBreach) -> Iterator[Save]:
    """What was saved before in the same job, the last one first."""
    return _saves_in_job(breach.history, breach.step)


def _saves_in_job(history: History, number: int) -> Iterator[Save]:
    """What was saved before the step of that number in its job, the last one first."""
    first = max(index for index in range(number + 1) if history.begins_job(index))
    ended = history.order[: history.order.index(number)]
    for index in reversed(ended):
        step = history.steps[index]
        if index >= first and isinstance(step, Save):
            yield step


def _saves_another_state(breach: HistoryBreach) -> bool:
    """Whether the save that goes wrong is of other entries than one before it in its job.

    A save by several threads, or to where no files lie open, may be seen to go wrong by a load of it alone, since who
    writes which file is not held.
    """
    history, step = breach.history, breach.history.steps[breach.step]
    if isinstance(step, Save):
        return _is_of_another_state(history, breach.step)
    if history.writer.thread_count == 1 and lies_open(history.storage):
        return False
    ended = history.order[: history.order.index(breach.step)]
    before = ((index, history.steps[index]) for index in ended)
    saves = [index for index, done in before if isinstance(done, Save) and done.at == step.at]
    return bool(saves) and _is_of_another_state(history, saves[-1])


def _is_of_another_state(history: History, number: int) -> bool:
    without = set(history.steps[number].without)
    return any(set(step.without) != without for step in _saves_in_job(history, number))


def fails_without_final_plan(save: OperationOutcome, faults: Sequence[Fault | FileFault] = ()) -> bool:
    """Whether ranks fail as they take a final plan out of their caches that never came into them.

    Beside them those may be named, for what they were made to raise, of the ``faults`` of the save.
    """
    made = {fault.rank for fault in faults}
    return all(isinstance(rank, Raised) and rank.phase == "write" and _lacks(rank, made) for rank in save.ranks)


def _lacks(seen: Raised, made: set[int]) -> bool:
    others = [error for rank, error in seen.failures or () if not (rank in made and mentions_fault(error))]
    return {(error.type, error.message) for error in others} == {("KeyError", "'DefaultSavePlanner'")}


def _lacks_final_plan(breach: HistoryBreach) -> bool:
    step, seen = breach.history.steps[breach.step], breach.outcome.steps[breach.step]
    after_failure = any(before.all_faults for before in _saves_before(breach))
    return breach.goes_without_caching and after_failure and fails_without_final_plan(seen.operation, step.all_faults)


def _has_another_coordinator(breach: HistoryBreach) -> bool:
    """Whether a save with cached plans fails on a coordinator, which was none when they were made."""
    step, seen = breach.history.steps[breach.step], breach.outcome.steps[breach.step]
    coordinator = step.operation.coordinator
    named = {
        (rank.phase, tuple((who, error.type) for who, error in rank.failures or ()))
        if isinstance(rank, Raised)
        else None
        for rank in seen.operation.ranks
    }
    new = any(before.operation.coordinator != coordinator for before in _saves_before(breach))
    return breach.goes_without_caching and new and named == {("plan", ((coordinator, "TypeError"),))}


def _has_what_was_staged_later(breach: HistoryBreach) -> bool:
    """Whether such a save, whose ranks see what they see alone, has written something else, or a load reads it."""
    history, step = breach.history, breach.history.steps[breach.step]
    if isinstance(step, Save):
        seen = breach.outcome.steps[breach.step]
        same = seen.alone is not None and not differing_ranks(seen.alone.outcome.save, seen.operation)
        return breach.kind is MemoryShows and same and history.is_staged_over(breach.step)
    ended = history.order[: history.order.index(breach.step)]
    saves = [index for index in ended if isinstance(history.steps[index], Save) and history.steps[index].at == step.at]
    # What was refused, as not to overwrite, or failed before that, left what was there before it.
    wrote = [index for index in saves if not breach.outcome.steps[index].failed_in_plan]
    # It may be that of the last one that returned, or of any that has failed since.
    returned = [place for place, index in enumerate(wrote) if breach.outcome.steps[index].operation.returned]
    seen_of = wrote[returned[-1] if returned else 0 :]
    wrong = [
        verdict.scenario
        for verdict in (breach.verdict, *breach.others)
        if verdict is not None and verdict.breach is not None and verdict.breach.kind is WrongBits
    ]
    staged_over = {index: history.read_of(breach.step, index) for index in seen_of if history.is_staged_over(index)}
    if any(scenario in wrong for scenario in staged_over.values()):
        return True
    return bool(wrong) and bool(staged_over) and _is_all_held_by(breach, {*seen_of, *(one + 1 for one in staged_over)})


def _is_all_held_by(breach: HistoryBreach, saves: Set[int]) -> bool:
    """Whether the load returned, and holds in each part what one of those saves has saved, wherever it was."""
    candidates = {save: breach.history.read_of(breach.step, save) for save in sorted(saves)}
    load = breach.outcome.steps[breach.step].operation
    return load.returned and not any(frozenset() in counted for counted in saves_seen(candidates, load).values())


def _mixes_saves_at_one_path(breach: HistoryBreach) -> bool:
    return breach.kind is MixedCheckpoint


def _takes_one_name_for_another(breach: HistoryBreach) -> bool:
    """Whether the save before it, which failed, was of other entries than one before that at the same path.

    Files are numbered in the order of what is written, so that one is then of another name than the metadata say.
    """
    history, at = breach.history, breach.history.steps[breach.step].at
    ended = (history.steps[index] for index in history.order[: history.order.index(breach.step)])
    saves = [step for step in ended if isinstance(step, Save) and step.at == at]
    another = len({frozenset(save.without) for save in saves}) > 1
    return breach.kind is UnderAnotherName and another and any(save.all_faults for save in saves)


def _takes_a_part_for_the_whole(breach: HistoryBreach) -> bool:
    """Whether the save before it, which failed, was of other parts of tensors than one before that at the same path.

    What is asked for behind the end of such a part, since the metadata say that the whole is there, is read from its
    beginning.
    """
    history, at = breach.history, breach.history.steps[breach.step].at
    ended = history.order[: history.order.index(breach.step)]
    saves = [index for index in ended if isinstance(history.steps[index], Save) and history.steps[index].at == at]
    parts: dict[str, set[tuple[tuple[Part, ...], ...]]] = {}
    for index in saves:
        for name, cut in _parts_of(history, index).items():
            parts.setdefault(name, set()).add(cut)
    otherwise = any(len(cuts) > 1 for cuts in parts.values())
    if not otherwise or not any(history.steps[index].all_faults for index in saves):
        return False
    return breach.kind is AtAnotherPlace or (breach.kind is NotLoaded and _may_be_of_another_place(breach, saves))


def _may_be_of_another_place(breach: HistoryBreach, saves: Sequence[int]) -> bool:
    """Whether what seems not to be loaded is at other places of what was saved: of a dtype of two values, by chance."""
    candidates = {save: breach.history.read_of(breach.step, save) for save in saves}
    held = others_held(candidates, breach.outcome.steps[breach.step].operation)
    return bool(held) and all(held.values())


def _parts_of(history: History, save: int) -> dict[str, tuple[tuple[Part, ...], ...]]:
    """The parts of each tensor that each rank saves."""
    scenario = history.scenario(save)
    ranks = range(scenario.save.world_size)
    return {
        leaf.fqn: tuple(tuple(leaf.entry.saved.parts(leaf.entry.shape, rank)) for rank in ranks)
        for leaf in scenario.leaves("save")
        if isinstance(leaf.entry, TensorEntry) and leaf.entry.saved is not None
    }


_HALVES = ChunkSharding(0, (0, 1))
_STAGED = Operation(api="async", stager="default")
_ISSUES = (
    HistoryIssue(
        id="mixed-after-failure",
        title="a save over an earlier checkpoint overwrites its files in place: one that fails leaves a mixture",
        loses="a job that goes back to the last good checkpoint loads, without any error, weights of two steps",
        history=History(
            (TensorEntry("a", (2,), saved=_HALVES),),
            (
                Save(operation=Operation(2)),
                Save(operation=Operation(2), faults=(Fault("save", 0, "writer.write_data"),)),
                Load(),
            ),
        ),
        matches=_mixes_saves_at_one_path,
    ),
    HistoryIssue(
        id="names-mixed-after-failure",
        title="a save of other entries over an earlier checkpoint, that fails, leaves one tensor in another's place",
        loses="a job that goes back to its last good checkpoint silently loads one tensor's values as another's",
        history=History(
            (TensorEntry("a"), TensorEntry("b")),
            (
                Save(without=("b",)),
                Save(without=("a",), faults=(Fault("save", 0, "writer.finish"),)),
                Load("a", without=("b",)),
            ),
        ),
        matches=_takes_one_name_for_another,
    ),
    HistoryIssue(
        id="places-mixed-after-failure",
        title="a part of a tensor, that a failed save has left in the whole's place, is read for the parts behind it",
        loses="a job that goes back to its last good checkpoint silently loads rows in the place of other rows",
        history=History(
            (TensorEntry("a", (2,), saved=_HALVES, loaded=ChunkSharding(0, (0, 0))),),
            (Save(), Save(operation=Operation(2), faults=(Fault("save", 0, "writer.finish"),)), Load()),
        ),
        matches=_takes_a_part_for_the_whole,
    ),
    HistoryIssue(
        id="cached-plans-of-another-coordinator",
        title="with enable_plan_caching, a save fails whose coordinator is another rank than that of the save before",
        loses="a save fails in its plan with a TypeError that says nothing, and every later one by that coordinator",
        history=History(
            (TensorEntry("a"),),
            (Save(operation=Operation(2)), Save(operation=Operation(2, coordinator=1, api="legacy"))),
            planner=PlannerOptions(enable_plan_caching=True),
        ),
        matches=_has_another_coordinator,
    ),
    HistoryIssue(
        id="cached-plans-after-failure",
        title="with enable_plan_caching, each save fails after one that failed once the coordinator had planned it",
        loses="one passing failure of the storage, and no later save of the job succeeds: KeyError, of a class's name",
        history=History(
            (TensorEntry("a"),),
            (Save(faults=(Fault("save", 0, "writer.prepare_global_plan"),)), Save()),
            planner=PlannerOptions(enable_plan_caching=True),
        ),
        matches=_lacks_final_plan,
    ),
    HistoryIssue(
        id="staged-over-an-upload",
        title="a DefaultStager that stages again, before what it has staged was written, overwrites it",
        loses="a checkpoint that is reported as saved silently holds the values of a later step, in part or as a whole",
        history=History(
            (TensorEntry("a"),),
            (Save(operation=_STAGED, overtaken=True), Save("b", _STAGED, again=("stager", "tensors"))),
        ),
        matches=_has_what_was_staged_later,
        # torch's recipe on asynchronous saves waits for the upload before the next one, and so does that on this stager
        # (pytorch/tutorials#3711): for the sake of memory, they say.
        documented=True,
    ),
)

HISTORY_ISSUES: dict[str, HistoryIssue] = {issue.id: issue for issue in (*_ISSUES, *STORED_HISTORY_ISSUES)}
"""The entries by their id."""
