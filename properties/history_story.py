"""A history as a story: for each step who did what, over what, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator

from worlds.concise import pretty
from worlds.file_faults import FileFault
from worlds.histories import History, HistoryOutcome, Load, Save, Step, StepOutcome

from .history_model import Sight, sight_text, walk
from .verdict import describe_ranks, rank_text, ranks_text

__all__ = ["sight_before", "story"]


def story(history: History, outcome: HistoryOutcome, last: int) -> Iterator[str]:
    """The history as Python, and then its steps until the ``last`` one ends, each with what its ranks saw."""
    yield from f"history = {pretty(history)}".splitlines()
    yield ""
    sights = _sights(history, outcome)
    ended = history.order[: history.order.index(last) + 1]
    for index, (step, seen) in enumerate(zip(history.steps, outcome.steps, strict=False)):
        if index in ended:
            begins = history.begins_job(index) and index > 0
            yield f"step {index + 1}: {_told(step, seen, sights[index], begins=begins)}"
            for ranks, text in describe_ranks(seen.operation.ranks, rank_text):
                yield f"        {ranks}: {text}"
            if index == last:
                yield from _alone(seen)


def sight_before(history: History, outcome: HistoryOutcome, index: int) -> Sight:
    """What may be seen before that step, at its own checkpoint."""
    return _sights(history, outcome)[index]


def _sights(history: History, outcome: HistoryOutcome) -> dict[int, Sight]:
    steps = zip(history.steps, outcome.steps, strict=False)
    return dict(walk(history, {index: _returned(*pair) for index, pair in enumerate(steps)}))


def _alone(seen: StepOutcome) -> Iterator[str]:
    """What the ranks of a save see where it is alone, if that is something else."""
    here = describe_ranks(seen.operation.ranks, rank_text)
    there = [] if seen.alone is None else describe_ranks(seen.alone.outcome.save.ranks, rank_text)
    if there != here:
        yield from (f"        {ranks}, alone in new processes: {text}" for ranks, text in there)


def _returned(step: Step, seen: StepOutcome) -> bool | None:
    refused = isinstance(step, Save) and not step.overwrite and not seen.operation.returned
    return None if refused or seen.failed_in_plan else seen.operation.returned


def _told(step: Step, seen: StepOutcome, sight: Sight, *, begins: bool) -> str:
    size = step.operation.world_size
    who = f"{size} rank{'s' if size > 1 else ''}{' of a new job' if begins else ''}"
    there = sight_text(sight)
    if isinstance(step, Load):
        what = f"load{'s' * (size == 1)} {step.at!r}, where {there} is to be seen"
    else:
        what = f"save{'s' * (size == 1)} to {step.at!r}, where {there} was to be seen"
    return ", ".join([f"{who} {what}", *_how(step, seen)])


def _how(step: Step, seen: StepOutcome) -> Iterator[str]:
    if step.operation.api != "current":
        yield "by async_save" if step.operation.uploads else f"by {step.name}_state_dict"
    if isinstance(step, Save) and not step.overwrite:
        yield "without overwriting"
    if isinstance(step, Save) and step.overtaken:
        yield "which begins when the next step has ended"
    if isinstance(step, Load) and step.partial:
        yield "of what is there"
    if step.without:
        yield f"without {', '.join(map(repr, step.without))}"
    if step.again:
        yield f"with the {' and the '.join(step.again)} of before"
    yield from _failing(step, seen)


def _failing(step: Step, seen: StepOutcome) -> Iterator[str]:
    """Which ranks fail where; ranks that fail alike together, and apart from those that never come to it."""
    reached = {hit.index for hit in seen.operation.hits}
    ranks: dict[str, list[int]] = {}
    for index, fault in enumerate(step.all_faults):
        call = f" at call {fault.skip}" if isinstance(fault, FileFault) and fault.skip else ""
        where = f"{fault.hook}{call} ({fault.error})"
        ranks.setdefault(where if index in reached else f"{where}, which is not reached", []).append(fault.rank)
    for where, failed in ranks.items():
        yield f"and {ranks_text(sorted(failed))} fail{'s' * (len(failed) == 1)} in {where}"
