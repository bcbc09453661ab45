"""Known issues of loads into tensors on the meta device, in whose place DCP puts others before it reads anything."""

from __future__ import annotations

import re
from collections.abc import Iterator

from worlds.entries import TensorEntry
from worlds.layouts import Layout, MeshSharding, Plain, Replicate
from worlds.operations import Operation, PlannerOptions
from worlds.scenario import Scenario

from ..verdict import Breach, Verdict
from ..violations import NotInPlace, TouchedTarget, UnexpectedFailure, WrongException, WrongRanks, WrongTensor
from .entry import KnownIssue, blamed, is_due, operation_outcome

__all__ = ["ISSUES"]

_NO_GROUP = "Default process group has not been initialized"
_NO_SHAPE = re.compile(
    r"Size mismatch between saved torch\.Size\(\[\]\) and current: torch\.Size\(\[0\]\) for (.*)", re.DOTALL
)
_LOST_SHAPE = re.compile(r" on rank (\d+) has another shape than its target: \(0,\) instead of \(\)")
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
    """Ranks outside of its mesh are blamed for the size of a 0-d tensor; who else is named was to fail.

    Or the load does not come so far, and such a rank is left with a tensor of that size.
    """
    if breach.operation != "load":
        return False
    scenario = verdict.scenario
    if breach.kind in (WrongTensor, TouchedTarget):
        left = _LOST_SHAPE.search(breach.headline)
        return left is not None and _is_beside_its_mesh(scenario, int(left[1]), ".".join(map(str, breach.path)))
    if breach.kind not in _FAILED:
        return False
    named = blamed(operation_outcome(verdict, breach), "plan").items()
    outside = {
        rank
        for rank, error in named
        if (said := _NO_SHAPE.fullmatch(error.message)) and _is_beside_its_mesh(scenario, rank, said[1])
    }
    return bool(outside) and all(rank in outside or is_due(scenario, "load", rank, error) for rank, error in named)


def _is_beside_its_mesh(scenario: Scenario, rank: int, fqn: str) -> bool:
    """Whether the rank has no part in the mesh of a 0-d target of that name on the meta device."""
    return any(
        isinstance(layout, MeshSharding) and layout.memory == "meta" and rank not in layout.mesh_ranks and not shape
        for shape, layout in _targets(scenario, fqn)
    )


def _is_made_of_nothing(verdict: Verdict, breach: Breach) -> bool:
    """A tensor in memory stands in the place of one on the meta device, and nothing was loaded into it.

    Where a rank has no part of it, another tensor does, whose device nobody can tell.
    """
    if breach.kind not in (WrongTensor, TouchedTarget, NotInPlace) or breach.operation != "load":
        return False
    name = ".".join(map(str, breach.path))
    if breach.fact == "device":
        return "cpu instead of meta" in breach.headline and _has_meta(verdict.scenario, name)
    replaced = re.search(r" on rank (\d+) is another tensor than the one to load into", breach.headline)
    return replaced is not None and any(
        layout.memory == "meta" and not layout.parts(shape, int(replaced[1]))
        for shape, layout in _targets(verdict.scenario, name)
    )


def _targets(scenario: Scenario, fqn: str) -> Iterator[tuple[tuple[int, ...], Layout]]:
    """The shapes and layouts of the targets of that name."""
    for leaf in scenario.leaves("load"):
        if leaf.fqn == fqn and isinstance(leaf.entry, TensorEntry) and leaf.entry.loaded is not None:
            yield leaf.entry.shape, leaf.entry.loaded


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
