"""The whole script of a history: its steps in their order, and what is asked of the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from properties.history_issues import find_history_issue
from properties.history_story import sight_before
from properties.judge import judge_save
from properties.judge_history import AtAnotherPlace, HistoryBreach, MemoryShows
from properties.verdict import Verdict
from properties.violations import UnexpectedFailure
from worlds.example import ExampleWorld
from worlds.histories import Save
from worlds.outcome import Outcome

from ..calls import result_lines
from ..extensions import extension_blocks
from ..faults import fault_blocks
from ..files import file_blocks, new_directory
from ..header import header
from ..imports import import_block
from ..known import CannotWrite
from ..metadata import checks_metadata
from ..outcomes import watchdog
from ..plan import Plan
from ..processes import exit_helpers, set_up
from ..races import late_writer_class, thread_classes
from ..state import state_helpers
from ..text import joined
from ..write import operation_lines, write_script
from .alone import verdict_alone
from .body import Body, may_fail
from .ending import ending_blocks, ending_lines
from .header import header_of
from .step import StepPlan, of_verdict, plans_of

__all__ = ["write_history_script"]


def write_history_script(breach: HistoryBreach, world: ExampleWorld) -> str:
    """A Python file that needs torch alone and shows what came of the steps of a history.

    What the ``world`` shows of the last step by itself too is written as a scenario. Raises :class:`CannotWrite`, with
    one line, for what has no script yet.
    """
    alone = verdict_alone(breach, world)
    return _write(breach) if alone is None else write_script(alone)


@dataclass(frozen=True)
class _Job:
    """What decides how the processes of the script begin and end."""

    ranks: int
    has_group: bool
    leaves_group: bool
    compares_outcome: bool
    raises: bool
    holds_group: bool
    hangs: bool


def _write(breach: HistoryBreach) -> str:
    history, last = breach.history, breach.step
    if history.is_overtaken(last) and len(breach.outcome.steps) == last + 1:
        raise CannotWrite("there is no script yet for a save that is overtaken, and never ends")
    places = sorted({*history.order[: history.order.index(last) + 1], *range(last)})
    below = breach.kind is MemoryShows
    plans = plans_of(history, breach.outcome, places, below=below)
    if breach.kind is AtAnotherPlace:
        plans = [_by_rank(plan) for plan in plans]
    judged = _judged(breach, plans)
    if judged is not None:
        must = {fault.hook.partition(".")[0] for fault in judged.faults(judged.name)}
        plans = plans_of(history, breach.outcome, places, below=below, must={last: must})
        judged = _judged(breach, plans)
    end, sight = plans[last], sight_before(history, breach.outcome, last)
    body = Body(history, plans)
    statements = [*_before(body, plans[:last])]
    if judged is None:
        if last and plans[last - 1].is_overtaken:
            raise CannotWrite("there is no script yet for what a step writes, or loads, that overtakes a save")
        statements.append(ending_lines(breach, body, plans, sight))
    elif end.is_overtaken:
        overtaking = (line for plan in plans[last + 1 :] for line in body.step(plan))
        statements += [[*body.step(end), *overtaking], [*body.counted(end), *operation_lines(judged, judged.name)]]
    else:
        statements.append([*body.before(judged), *operation_lines(judged, judged.name)])
    job = _job(plans, judged)
    plans[last] = judged or end
    text = joined(
        [
            *file_blocks(plans),
            *fault_blocks(*plans),
            *_each_once(plans, thread_classes, late_writer_class, extension_blocks, state_helpers),
            *([] if judged is not None else ending_blocks(breach, end)),
            *([] if judged is None else watchdog(judged)),
            *exit_helpers(job),
            "\n".join([*set_up(job), *new_directory(plans)]),
            *map("\n".join, statements),
        ]
    )
    head = header_of(breach, sight, job.ranks) if judged is None else header(judged)
    return joined([head, import_block(text), text]) + "\n"


def _by_rank(plan: StepPlan) -> StepPlan:
    plan.check_places()
    return replace(plan, by_rank=True)


def _before(body: Body, plans: Sequence[StepPlan]) -> Iterator[list[str]]:
    """The steps before the last one; one that is overtaken ends after the next."""
    overtaken: StepPlan | None = None
    for plan in plans:
        yield [*body.step(plan), *([] if overtaken is None else body.ended(overtaken))]
        overtaken = plan if plan.is_overtaken else None


def _judged(breach: HistoryBreach, plans: Sequence[StepPlan]) -> StepPlan | None:
    """The last step, where what is wrong is what the call does on each rank, or the metadata."""
    verdict, end = _verdict(breach), plans[breach.step]
    if verdict is None:
        return None
    before = tuple(plan.scenario for plan in plans if plan is not end)
    judged = of_verdict(end, verdict, find_history_issue(breach), before)
    if not (judged.compares_outcome or judged.kind is UnexpectedFailure or checks_metadata(judged)):
        return None
    overtaken = plans[breach.step - 1] if breach.step else end
    if (end.is_overtaken or overtaken.is_overtaken) and checks_metadata(judged):
        raise CannotWrite("there is no script yet for the metadata of a save that is overtaken, or overtakes another")
    if end.is_overtaken:
        return replace(judged, result=("ended.set()", *result_lines(end)))
    if overtaken.is_overtaken:
        return replace(judged, then=("ended.set()", *may_fail(overtaken, result_lines(overtaken))))
    return judged


def _verdict(breach: HistoryBreach) -> Verdict | None:
    """That on the last step by itself, if it breaks a law so; also where it was compared with itself alone first."""
    history, last = breach.history, breach.step
    if breach.verdict is not None or not isinstance(history.steps[last], Save) or breach.kind is not MemoryShows:
        return breach.verdict
    seen = breach.outcome.steps[last]
    outcome = Outcome(seen.operation, None, seen.metadata, seen.metadata_error, seen.files)
    verdict = judge_save(history.scenario(last), outcome)
    return None if verdict else verdict


def _job(plans: Sequence[StepPlan], judged: StepPlan | None) -> _Job:
    return _Job(
        ranks=plans[0].ranks,
        has_group=plans[0].has_group,
        leaves_group=False,
        compares_outcome=judged is not None and judged.compares_outcome,
        raises=judged is not None and judged.raises,
        holds_group=any(plan.holds_group for plan in plans),
        hangs=judged is not None and judged.hangs,
    )


def _each_once(plans: Sequence[StepPlan], *makes: Callable[[Plan], list[str]]) -> list[str]:
    """The definitions that the steps need; two of one name would be one too many."""
    blocks = list(dict.fromkeys(block for make in makes for plan in plans for block in make(plan)))
    if len({block.partition("\n")[0] for block in blocks}) < len(blocks):
        raise CannotWrite("there is no script for a history whose steps take another class each yet")
    return blocks
