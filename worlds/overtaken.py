"""Runs a save that is overtaken: it is called, the next step comes to its end, and only then the upload begins.

That is what a slow upload comes to where nobody waits for it. How far it gets meanwhile is a race of the system's; so
it gets nowhere, and what comes of it does not depend on who is faster, in any world. What two saves come to that are
under way at once over one group is for :mod:`worlds.side_by_side`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from .example import ExampleWorld
from .histories import History, Save, Step, StepOutcome
from .inject import Hits
from .kept import load_with_kept, save_with_kept
from .on_disk import OnDisk, everything, on_disk
from .outcome import Deadlocked, Died, Hit, OperationOutcome, RankOutcome
from .program import GroupOf, run_rank

__all__ = ["run_overtaken"]


@dataclass(frozen=True)
class _Seen:
    """What a rank saw of the save and of the next step; and rank 0 what lay there in between."""

    save: RankOutcome | None
    following: RankOutcome | None
    between: OnDisk | None


def run_overtaken(world: ExampleWorld, history: History, index: int, directory: str) -> list[StepOutcome]:
    """What comes of that save and of the next step; of the save alone where ranks do not go on."""
    step = history.steps[index]
    begins, operation = history.begins_job(index), step.operation
    before = everything(directory, history.storage)
    launched = world.launch(
        partial(_in_rank, history, index, directory, world.group_of, world.report_in_rank),
        operation.world_size,
        schedule=operation.schedule,
        distributed=operation.distributed,
        fresh=begins,
    )
    saved: list[RankOutcome] = []
    following: list[RankOutcome] = []
    between: OnDisk | None = None
    for seen in launched.ranks:
        if isinstance(seen, Deadlocked | Died):
            saved.append(seen)
            continue
        assert seen.save is not None
        assert seen.following is not None
        saved.append(seen.save)
        following.append(seen.following)
        between = between or seen.between
    now = on_disk(directory, step.at, history.storage)
    came = OperationOutcome(tuple(saved), launched.reported, launched.schedule)
    if between is None:
        return [_but_for_next_step(now.of(came, before), *history.steps[index : index + 2])]
    if len(following) < len(saved):
        return [now.of(came, between.everything)]
    return [
        now.of(came, between.everything),
        between.of(OperationOutcome(tuple(following), (), launched.schedule), before),
    ]


def _but_for_next_step(seen: StepOutcome, step: Step, following: Step) -> StepOutcome:
    """What is known to be of the save, where nobody tells what was there before it: nothing where both save."""
    both = isinstance(following, Save) and following.at == step.at
    own = (name for name in seen.changed if name.startswith(f"{step.at}/"))
    return replace(seen, changed=() if both else tuple(own))


def _in_rank(
    history: History, index: int, directory: str, group_of: GroupOf, report: Callable[[Hit], None], rank: int
) -> _Seen:
    step, following = history.steps[index : index + 2]
    assert isinstance(step, Save)
    ended: list[RankOutcome | None] = []
    between: list[OnDisk] = []

    def meanwhile() -> None:
        with_kept = save_with_kept if isinstance(following, Save) else load_with_kept
        call = partial(with_kept, following.again, False)
        scenario, path = history.scenario(index + 1), f"{directory}/{following.at}"
        ended.append(run_rank(scenario, following.name, rank, path, [], group_of=group_of, call=call))
        if rank == 0:  # the coordinator, with whom every rank has ended
            between.append(on_disk(directory, following.at, history.storage))

    call = partial(save_with_kept, step.again, history.begins_job(index), meanwhile=meanwhile)
    path = f"{directory}/{step.at}"
    saved = run_rank(history.scenario(index), "save", rank, path, Hits(report), group_of=group_of, call=call)
    if not ended:  # the call of async_save has failed
        meanwhile()
    return _Seen(saved, ended[0], between[0] if between else None)
