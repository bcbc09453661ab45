"""Strategies for failures: which ranks fail, at which hooks, with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.errors import ERRORS, NEVER_ARRIVES
from worlds.faults import Fault
from worlds.hooks import HOOKS

from ._bounds import MOST_RANKS, check_bounds, check_rank
from ._corners import favouring
from ._reused import reused, sampled_from

__all__ = ["failing_ranks", "faults"]

Through = Literal["call", "future"]


def _places(operation: Literal["save", "load"]) -> list[tuple[str, Through]]:
    """Each hook, in the call and, where it returns one, through its future, which DCP hears of in another way.

    The simplest is drawn most often, and so it is one that DCP protects. The coordinator's own have a second place:
    what differs with the rank that it is shows in them alone, one rank fails there, and what fails before hides it.
    """
    hooks = sorted(
        (name for of, name in HOOKS if of == operation), key=lambda name: HOOKS[operation, name].phase is None
    )
    calls: list[tuple[str, Through]] = [(name, "call") for name in hooks]
    again: list[tuple[str, Through]] = [(n, "call") for n in hooks if HOOKS[operation, n].role == "coordinator"]
    return [*calls, *((name, "future") for name in hooks if HOOKS[operation, name].future), *again]


_PLACES = {"save": _places("save"), "load": _places("load")}
# One that hangs the others hides what else fails, and the commonest is what a storage raises most.
_ERRORS = [*(name for name in ERRORS for _ in range(1 if name in NEVER_ARRIVES else 2)), *["OSError"] * 8]


@reused
def failing_ranks(*, world_size: int, coordinator: int = 0) -> SearchStrategy[frozenset[int]]:
    """Sets of ranks that fail, never empty; shrinks towards one rank, the lowest.

    The coordinator alone, all ranks, and all but the coordinator are drawn often: DCP treats its own rank's failure
    apart from what it hears of, and a failure of everyone or of one rank only takes other paths than a mixture.
    """
    check_rank("coordinator", coordinator, world_size)
    everyone = frozenset(range(world_size))
    alone = [frozenset({rank}) for rank in sorted(everyone, key=lambda rank: (rank != coordinator, rank))]
    corners = [alone[0], everyone - {coordinator} or everyone, everyone, *alone[1:]]
    # A mask, and not a set: of one in which 0 and 1 are, Hypothesis leaves out 1 alone. As wide for any world, so that
    # those are left that there are in a smaller one. It is drawn even where it is not used: what has the fewest draws
    # is taken for the simplest.
    mask = st.integers(1, 2 ** max(world_size, MOST_RANKS) - 1)
    corner = favouring(st.none() | st.sampled_from(corners))
    return st.tuples(mask, corner).map(lambda drawn: _marked(drawn[0], world_size) if drawn[1] is None else drawn[1])


def _marked(mask: int, world_size: int) -> frozenset[int]:
    """The ranks whose bits are set; where none is, one of them, by the bits behind theirs."""
    marked = frozenset(rank for rank in range(world_size) if mask >> rank & 1)
    return marked or frozenset({(mask >> world_size) % world_size})


@reused
@st.composite
def _at_one_hook(
    draw: DrawFn, operation: Literal["save", "load"], world_size: int, coordinator: int
) -> Sequence[Fault]:
    """The same failure on a set of ranks."""
    hook, through = draw(sampled_from(_PLACES[operation]), label="hook")
    place = HOOKS[operation, hook]
    failed = draw(failing_ranks(world_size=world_size, coordinator=coordinator), label="ranks")
    # On another rank it is never reached, which is a law too, but a dull one.
    if place.role == "coordinator" and draw(sampled_from((True, True, False)), label="on the coordinator alone"):
        failed = frozenset({coordinator})
    error = draw(sampled_from(_ERRORS), label="error")
    return [Fault(operation, rank, hook, error, through) for rank in sorted(failed)]


@reused
def faults(
    *,
    operation: Literal["save", "load"],
    world_size: int,
    coordinator: int = 0,
    min_hooks: int = 1,
    max_hooks: int = 3,
) -> SearchStrategy[tuple[Fault, ...]]:
    """Faults of one operation: at ``min_hooks`` to ``max_hooks`` hooks at once, on a set of ranks at each.

    Any hook of the storage and the planner, in the call or through the future, with any exception that a storage may
    raise. Shrinks towards an ``OSError`` in the first hook on one rank. Several at once, since only the first phase
    that fails may be reported, and nothing behind it may run; at one alone as often, since what else fails hides it.
    """
    check_rank("coordinator", coordinator, world_size)
    check_bounds("hooks", min_hooks, max_hooks)
    group = _at_one_hook(operation, world_size, coordinator)
    groups = st.lists(
        group, min_size=min_hooks, max_size=max_hooks, unique_by=lambda group: (group[0].hook, group[0].through)
    )
    if min_hooks <= 1 <= max_hooks:
        groups = favouring(group.map(lambda alone: [alone]) | groups, whole=1)
    return groups.map(lambda drawn: tuple(fault for group in drawn for fault in group))
