"""What differs between ranks in a state dict of a script: what is not there, and the order of the keys."""

from __future__ import annotations

from worlds.layouts import Plain
from worlds.state_tree import Leaf, children

from .memory import layout_of
from .places import place_of
from .plan import Name, Plan
from .ranks import rank_condition
from .text import indented

__all__ = ["is_everywhere", "only_where_it_is", "per_rank_lines"]


def per_rank_lines(plan: Plan, name: Name, variable: str) -> list[str]:
    """Statements that make of the state dict of all ranks that of each."""
    return [*_removed(plan, name, variable), *_rotated(plan, name, variable)]


def is_everywhere(plan: Plan, leaf: Leaf, name: Name) -> bool:
    """Whether every rank of the operation has it."""
    return not _without(plan, leaf, name)


def only_where_it_is(plan: Plan, leaf: Leaf, name: Name, lines: list[str]) -> list[str]:
    """``lines``, run by the ranks that have it."""
    without = _without(plan, leaf, name)
    if not without:
        return lines
    ranks = tuple(rank for rank in plan.members(name) if rank not in without)
    return [f"if {rank_condition('rank', ranks)}:", *indented(lines)]


def _without(plan: Plan, leaf: Leaf, name: Name) -> tuple[int, ...]:
    """The ranks of the job that take part and do not have it."""
    layout = layout_of(leaf, name)
    if not isinstance(layout, Plain):
        return ()
    return tuple(rank for place, rank in enumerate(plan.members(name)) if not layout.is_on(place))


def _removed(plan: Plan, name: Name, variable: str) -> list[str]:
    by_ranks: dict[tuple[int, ...], list[str]] = {}
    for leaf in plan.leaves(name):
        by_ranks.setdefault(_without(plan, leaf, name), []).append(f"del {place_of(plan, variable, leaf.path)}")
    lines = []
    for ranks, statements in by_ranks.items():
        if ranks:
            lines += [f"if {rank_condition('rank', ranks)}:", *indented(statements)]
    return lines


def _rotated(plan: Plan, name: Name, variable: str) -> list[str]:
    """Statements that give each rank the keys in another order; nothing where that makes no difference."""
    operation = plan.scenario.operation(name)
    count = len(list(children(plan.scenario.entries, name)))
    if not operation.rotated or operation.world_size == 1 or count < 2:
        return []
    is_never_empty = any(is_everywhere(plan, leaf, name) for leaf in plan.leaves(name)) or plan.has_containers(name)
    return [
        f"items = list({variable}.items())",
        f"start = {'dist.get_rank(group)' if plan.renumbers(name) else 'rank'} % "
        f"{'len(items)' if is_never_empty else 'max(1, len(items))'}",
        f"{variable} = dict(items[start:] + items[:start])  # each rank has the keys in another order",
    ]
