"""Known issues of loads into tensors on the meta device, in whose place DCP puts others before it reads anything."""

from __future__ import annotations

import re

from worlds.entries import TensorEntry
from worlds.layouts import MeshSharding, Plain, Replicate
from worlds.operations import Operation, PlannerOptions
from worlds.scenario import Scenario

from ..oracle import names_refusal
from ..verdict import Breach, Verdict
from ..violations import TouchedTarget, UnexpectedFailure, WrongException, WrongRanks, WrongTensor
from .entry import KnownIssue, blamed, operation_outcome

__all__ = ["ISSUES"]

_NO_GROUP = "Default process group has not been initialized"
_NO_SHAPE = re.compile(r"Size mismatch between saved torch\.Size\(\[\]\) and current: torch\.Size\(\[0\]\) for (.*)")
_FAILED = (UnexpectedFailure, WrongException, WrongRanks)


def _has_meta(scenario: Scenario, *fqns: str) -> bool:
    """Whether a target on the meta device is in the state dict, of one of those names if any are given."""
    return any(
        leaf.entry.loaded is not None and leaf.entry.loaded.memory == "meta" and (not fqns or leaf.fqn in fqns)
        for leaf in scenario.leaves("load")
    )


def _asks_for_group(verdict: Verdict, breach: Breach) -> bool:
    """Where there is no process group, the one rank is blamed for asking the group for its device."""
    scenario = verdict.scenario
    if breach.kind not in _FAILED or breach.operation != "load":
        return False
    if scenario.load.distributed or not _has_meta(scenario):
        return False
    named = blamed(operation_outcome(verdict, breach), "plan")
    return bool(named) and all(error.message.startswith(_NO_GROUP) for error in named.values())


def _loses_its_shape(verdict: Verdict, breach: Breach) -> bool:
    """Ranks outside of its mesh are blamed for the size of a 0-d tensor; who else is named refuses what it must."""
    if breach.kind not in _FAILED or breach.operation != "load":
        return False
    scenario = verdict.scenario
    named = blamed(operation_outcome(verdict, breach), "plan").items()
    outside = {rank for rank, error in named if _is_beside_its_mesh(scenario, rank, error.message)}
    rightly = {rank for rank, error in named if names_refusal(scenario, "load", rank, error)}
    return bool(outside) and all(rank in outside | rightly for rank, _ in named)


def _is_beside_its_mesh(scenario: Scenario, rank: int, message: str) -> bool:
    said = _NO_SHAPE.fullmatch(message)
    if said is None or not _has_meta(scenario, said[1]):
        return False
    entries = (leaf.entry for leaf in scenario.leaves("load") if leaf.fqn == said[1])
    layouts = [entry.loaded for entry in entries if isinstance(entry, TensorEntry) and entry.shape == ()]
    return any(isinstance(layout, MeshSharding) and rank not in layout.mesh_ranks for layout in layouts)


def _is_made_of_nothing(verdict: Verdict, breach: Breach) -> bool:
    """A tensor in memory stands in the place of one on the meta device, and nothing was loaded into it."""
    if breach.kind not in (WrongTensor, TouchedTarget) or breach.operation != "load" or breach.fact != "device":
        return False
    taken = "cpu instead of meta" in breach.headline
    return taken and _has_meta(verdict.scenario, ".".join(map(str, breach.path)))


_TARGET = Plain(memory="meta")

ISSUES = (
    KnownIssue(
        id="meta-without-group",
        title="a load into a tensor on the meta device fails where torch.distributed is not initialised",
        loses="a model that was made on the meta device cannot be loaded in a single process, as load() says it can",
        scenario=Scenario(
            entries=(TensorEntry("a", loaded=_TARGET),),
            save=Operation(distributed=False),
            load=Operation(distributed=False),
        ),
        matches=_asks_for_group,
    ),
    # DTensor.from_local() takes a shape without dims for none that is given, and infers one from no local elements.
    KnownIssue(
        id="meta-scalar-beside-its-mesh",
        title="a load into a 0-d DTensor on the meta device fails on ranks that are not in its mesh",
        loses="a model on the meta device with a scalar on a part of the ranks, as in a pipeline, cannot be loaded",
        scenario=Scenario(
            entries=(TensorEntry("a", loaded=MeshSharding((1,), (Replicate(),), memory="meta")),),
            save=Operation(2),
            load=Operation(2),
        ),
        matches=_loses_its_shape,
    ),
    KnownIssue(
        id="meta-left-arbitrary",
        title="a load puts arbitrary memory in the place of a tensor on the meta device, even where it loads nothing",
        loses="a parameter that is not in the checkpoint passes for one that was loaded, and holds what was in memory",
        scenario=Scenario(
            entries=(TensorEntry("a", saved=None, loaded=_TARGET),), planner=PlannerOptions(allow_partial_load=True)
        ),
        matches=_is_made_of_nothing,
    ),
)
