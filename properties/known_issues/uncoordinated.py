"""Known issues of saving with ``use_collectives=False``, where each rank plans and writes for itself."""

from __future__ import annotations

from worlds.entries import TensorEntry
from worlds.layouts import MeshSharding, Replicate
from worlds.operations import Operation, WriterOptions
from worlds.scenario import Scenario

from ..reach import refusals
from ..verdict import Breach, Verdict
from ..violations import NotRefused, UnexpectedFailure, WrongException, WrongRanks
from .alone import ends_alone
from .entry import KnownIssue, blamed, operation_outcome

__all__ = ["ISSUES"]


def _misses_what_other_ranks_hold(verdict: Verdict, breach: Breach) -> bool:
    scenario = verdict.scenario
    kinds = (UnexpectedFailure, WrongException, WrongRanks, NotRefused)
    if breach.kind not in kinds or breach.operation != "load" or scenario.save.coordinated:
        return False
    named = blamed(operation_outcome(verdict, breach), "plan")
    without = [
        {unit.fqn for unit in scenario.units("save") if unit.tensor is not None and _holds_nothing(unit.tensor, rank)}
        for rank in range(scenario.load.world_size)
    ]
    if breach.kind is NotRefused:  # where what is missing may be left out, there is nothing that does not fit
        refused = refusals(scenario, "load")
        return all(set(refused[rank]) <= without[rank] for rank in set(refused) - set(named))
    missing = {
        rank
        for rank, error in named.items()
        if any(error.message == f"Missing key in checkpoint state_dict: {fqn}." for fqn in without[rank])
    }
    # The others are blamed for what they were made to fail with.
    made = {fault.rank for fault in scenario.all_faults if fault.operation == "load"} | set(refusals(scenario, "load"))
    return bool(missing) and set(named) <= missing | made


def _holds_nothing(entry: TensorEntry, rank: int) -> bool:
    return entry.saved is not None and not entry.saved.parts(entry.shape, rank)


_ELSEWHERE = MeshSharding((1,), (Replicate(),))

ISSUES = (
    KnownIssue(
        id="uncoordinated-overwrite",
        title="with use_collectives=False and overwrite=False a rank takes what rank 0 has just written for an old "
        "checkpoint",
        loses="a save to a new directory fails, or not, depending on which rank is faster",
        scenario=Scenario(
            save=Operation(2, api="uncoordinated"), load=Operation(2), writer=WriterOptions(overwrite=False)
        ),
        matches=ends_alone("uncoordinated-overwrite"),
        shows_in=("simulated",),  # which rank is faster is the system's affair elsewhere
    ),
    KnownIssue(
        id="uncoordinated-no-shard",
        title="with use_collectives=False a tensor of which a rank holds nothing cannot be loaded on that rank",
        loses="a checkpoint that was reported as saved cannot be loaded into the state dict that it was made of",
        scenario=Scenario(
            entries=(TensorEntry("a", saved=_ELSEWHERE, loaded=_ELSEWHERE),),
            save=Operation(2, api="uncoordinated"),
            load=Operation(2),
        ),
        matches=_misses_what_other_ranks_hold,
    ),
)
