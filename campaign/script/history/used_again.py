"""What of a step of a history is used again in a later one, and so is kept in a variable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worlds.entries import Key, TensorEntry
from worlds.histories import History, HistoryOutcome, Save
from worlds.layouts import Plain

from ..known import CannotWrite
from ..use import Use

__all__ = ["shared_steps", "tensors_again", "uses_of"]

_Key = tuple[str, ...]
_NAMES = {"writer": "writer", "reader": "reader", "save planner": "planner", "load planner": "load_planner"}


@dataclass
class _Thing:
    """Something that is made in a step: what it is, and the steps that use it."""

    kind: str
    name: str
    steps: list[int] = field(default_factory=list)


def _things(history: History, outcome: HistoryOutcome, steps: Sequence[int]) -> list[_Thing]:
    """All that is made in those steps, as :mod:`worlds.kept` makes it."""
    made: list[_Thing] = []
    kept: dict[_Key, _Thing] = {}
    paths: dict[_Key, str | None] = {}
    for index in steps:
        step = history.steps[index]
        if history.begins_job(index):
            kept.clear()
        for kind, key in _asked_for(history, index):
            goes_there = True
            if kind in ("writer", "reader"):
                goes_there = step.operation.tells_path or paths.get(key) == step.at
                if kind in step.again and key in kept and not goes_there and paths.get(key) is None:
                    raise CannotWrite(
                        "there is no script yet for a storage that is used again after it may not be told where"
                    )
            if kind not in step.again or key not in kept or not goes_there:
                kept[key] = _Thing(kind, _name(key))
                paths[key] = step.at
                made.append(kept[key])
            elif kind in ("writer", "reader") and paths[key] != step.at:
                paths[key] = step.at if outcome.steps[index].operation.returned else None
            kept[key].steps.append(index)
    return made


def _asked_for(history: History, index: int) -> Iterator[tuple[str, _Key]]:
    """What a step uses: the kind, and what tells it from others of its kind."""
    step = history.steps[index]
    if isinstance(step, Save):
        yield "planner", ("save planner",)
        yield "writer", ("writer", str(step.overwrite))
        if step.operation.uploads and step.operation.stager in ("default", "shared"):
            yield "stager", ("stager", step.operation.stager)
    else:
        yield "planner", ("load planner", str(step.partial))
        yield "reader", ("reader",)


def _name(key: _Key) -> str:
    """A variable for what has that key, of which there is one at a time."""
    kind, *options = key
    if options in (["False"], ["shared"]) and kind in ("writer", "stager"):
        return {"writer": "careful_writer", "stager": "shared_stager"}[kind]
    if options == ["True"] and kind == "load planner":
        return "partial_planner"
    return _NAMES.get(kind, kind)


def uses_of(history: History, outcome: HistoryOutcome, steps: Sequence[int]) -> Mapping[int, Mapping[str, Use]]:
    """For each of the steps, by kind, what is used more than once."""
    found: dict[int, dict[str, Use]] = {index: {} for index in steps}
    for thing in _things(history, outcome, steps):
        if len(thing.steps) > 1:
            for index in thing.steps:
                use = Use(thing.name, index == thing.steps[0], index == thing.steps[-1])
                found[index][thing.kind] = use
    return found


def shared_steps(
    history: History, outcome: HistoryOutcome, steps: Sequence[int]
) -> Mapping[tuple[int, str], list[int]]:
    """By a step and a kind, the steps that use the same as that one."""
    things = _things(history, outcome, steps)
    return {(index, thing.kind): thing.steps for thing in things for index in thing.steps}


def tensors_again(history: History, steps: Sequence[int]) -> Mapping[int, frozenset[Key]]:
    """For each of the steps, the entries whose tensors are those of the save before it."""
    found: dict[int, frozenset[Key]] = {}
    before: frozenset[Key] = frozenset()
    for index in steps:
        step = history.steps[index]
        if history.begins_job(index):
            before = frozenset()
        if isinstance(step, Save):
            entries = history.scenario(index).entries
            plain = (entry for entry in entries if isinstance(entry, TensorEntry) and entry.saved == Plain())
            now = frozenset(entry.key for entry in plain)
            found[index] = before & now if "tensors" in step.again else frozenset()
            before = now
    return found
