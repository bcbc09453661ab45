"""The objects of a state dict in a script."""

from __future__ import annotations

from worlds.entries import ObjectEntry

from .plan import Plan
from .text import Code, Items, literal

__all__ = ["holds_files", "object_code", "object_helpers"]

_INSTANCE = '''\
@dataclasses.dataclass
class Instance:
    """An object of a class of its own."""

    value: object'''


def object_code(entry: ObjectEntry, *, head: str) -> Code:
    """The expression that makes the object, behind ``head``."""
    if entry.form == "value":
        return literal(entry.value, head=head)
    made = "io.BytesIO(" if entry.form == "BytesIO" else "Instance("
    return Items(head + made, (literal(entry.value),))


def object_helpers(plan: Plan) -> list[str]:
    """The definitions that the objects need."""
    leaves = [leaf for name in plan.names for leaf in plan.leaves(name)]
    is_there = any(isinstance(leaf.entry, ObjectEntry) and leaf.entry.form == "instance" for leaf in leaves)
    return [_INSTANCE] if is_there else []


def holds_files(plan: Plan) -> bool:
    """Whether one of them is a file in memory, whose ``repr`` does not say what it holds."""
    return any(entry.form == "BytesIO" for entry in _objects(plan))


def _objects(plan: Plan) -> list[ObjectEntry]:
    return [leaf.entry for leaf in plan.leaves("save") if isinstance(leaf.entry, ObjectEntry)]
