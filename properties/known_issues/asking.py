"""Known issues of loads that ask the checkpoint for names that it does not have, or has as something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from worlds.entries import Entry, Nested, ObjectEntry, Path, TensorEntry
from worlds.layouts import ChunkSharding
from worlds.operations import Operation
from worlds.outcome import Returned
from worlds.scenario import Scenario
from worlds.state_tree import children, units

from ..reach import refusals, saved_units
from ..verdict import Breach, Verdict
from ..violations import LostFailure, UnexpectedFailure, WrongException, WrongObject, WrongRanks
from .entry import KnownIssue, blamed, operation_outcome
from .loading import is_kept, is_loaded, is_loaded_beside

__all__ = ["ISSUES", "lists_of_objects_left", "padding"]

_SAID = re.compile(
    r"Missing key in checkpoint state_dict: (?P<missing>.*)\."
    r"|Invalid checkpoint metadata for (?P<other>.*), expected BytesStorageMetadata but found .*",
    re.DOTALL,
)


def _not_found(verdict: Verdict, breach: Breach) -> dict[int, str]:
    """The ranks that all blame for a name that is not in the checkpoint as it should be; not those made to fail."""
    if breach.kind not in (UnexpectedFailure, WrongException, WrongRanks) or breach.operation != "load":
        return {}
    found = {}
    made = {fault.rank for fault in verdict.scenario.all_faults if fault.operation == "load"}
    for rank, error in blamed(operation_outcome(verdict, breach), "plan").items():
        said = _SAID.fullmatch(error.message)
        if said is not None:
            found[rank] = said["missing"] if said["missing"] is not None else said["other"]
        elif rank not in made and rank not in refusals(verdict.scenario, "load"):
            return {}
    return found


def _asks_for(names: Callable[[Scenario, int], set[str]]) -> Callable[[Verdict, Breach], bool]:
    """A predicate: a rank asks the checkpoint for one of the ``names`` of things that it should not ask for."""

    def matches(verdict: Verdict, breach: Breach) -> bool:
        found = _not_found(verdict, breach)
        return any(name in names(verdict.scenario, rank) for rank, name in found.items())

    return matches


def padding(scenario: Scenario, rank: int) -> set[str]:
    """The names of what vanishes from a list as sharded tensors are flattened, so that ``None`` takes its place."""
    return {
        ".".join(map(str, path))
        for nested_path, nested in _containers(scenario)
        if nested.container == "list"
        for path, entry in children(nested.entries, "load", path=nested_path, sequence=True)
        if _vanishes(entry, rank)
    }


def _vanishes(entry: Entry, rank: int) -> bool:
    if isinstance(entry, Nested):
        if entry.container == "tuple" or (entry.container == "list" and not entry.entries):
            return False  # an object, also where it is empty
        return all(_vanishes(inner, rank) for inner in entry.entries)
    return isinstance(entry, TensorEntry) and _is_sharded_elsewhere(entry, rank)


def lists_of_objects_left(scenario: Scenario, rank: int) -> set[str]:
    """The names of lists in which nothing but objects is left once something has vanished, so that each is one."""
    return {
        ".".join(map(str, path))
        for path, nested in _containers(scenario)
        if nested.container == "list"
        and all(_vanishes(entry, rank) or _is_left_as_object(entry, rank) for entry in nested.entries)
        and any(_vanishes(inner, rank) for inner in _within(nested))
        and not _vanishes(nested, rank)
    }


def _is_left_as_object(entry: Entry, rank: int) -> bool:
    if isinstance(entry, Nested):
        inside = (_vanishes(inner, rank) or _is_left_as_object(inner, rank) for inner in entry.entries)
        return entry.container == "tuple" or (entry.container == "list" and all(inside))
    return isinstance(entry, ObjectEntry)


def _within(nested: Nested) -> Iterator[Entry]:
    for entry in nested.entries:
        yield entry
        if isinstance(entry, Nested) and entry.container == "list":
            yield from _within(entry)


def _is_sharded_elsewhere(entry: TensorEntry, rank: int) -> bool:
    """Whether it is a ``ShardedTensor`` of which the rank has no shard."""
    layout = entry.loaded
    return layout is not None and layout.kind == "ShardedTensor" and not layout.parts(entry.shape, rank)


def _as_of_an_old_one(scenario: Scenario, rank: int) -> set[str]:
    """The names that a rank adds to what it asks for where it takes the checkpoint for one of torch 2.3."""
    tensors = {unit.fqn: unit.tensor for unit in scenario.units("load") if unit.tensor is not None}
    elsewhere = {fqn for fqn, tensor in tensors.items() if _is_sharded_elsewhere(tensor, rank)}
    if not elsewhere:
        return set()
    # One that is in the checkpoint is what it takes for a sign; then it asks for those that are not, as well.
    saved = saved_units(scenario).keys()
    return _without_tensors(scenario, rank) | (elsewhere - saved if elsewhere & saved else set())


_Names = Callable[[Scenario, int], set[str]]


def _asks_in_vain(names: _Names, passed_over: _Names) -> Callable[[Verdict, Breach], bool]:
    """A predicate: a rank asks for one of the ``names``, or passes containers over, which it asks for as a whole."""
    asks = _asks_for(names)
    return lambda verdict, breach: asks(verdict, breach) or _passes_over(passed_over, verdict, breach)


def _of_an_old_one(scenario: Scenario, rank: int) -> set[str]:
    """The containers of objects alone, on a rank that takes the checkpoint for one of torch 2.3."""
    return _without_tensors(scenario, rank) if _as_of_an_old_one(scenario, rank) else set()


def _passes_over(names: _Names, verdict: Verdict, breach: Breach) -> bool:
    """With ``allow_partial_load`` what is not found is passed over, and no hook is called for it.

    So a container that is asked for as a whole keeps the objects that it held, on the ranks that ask so, and on no
    other. There may be several reasons to do so, of which ``names`` is to be one.
    """
    scenario, outcome = verdict.scenario, verdict.outcome.load
    if breach.operation != "load" or outcome is None or not scenario.planner.allow_partial_load:
        return False
    ranks = range(scenario.load.world_size)
    passed = {rank: lists_of_objects_left(scenario, rank) | _of_an_old_one(scenario, rank) for rank in ranks}
    if breach.kind is LostFailure:
        said = _LOST_BYTES.match(breach.headline)
        if said is None or not names(scenario, int(said["rank"])):
            return False
        return _asks_for_no_other_object(scenario, int(said["rank"]), passed[int(said["rank"])])
    if breach.kind is not WrongObject:
        return False
    inside = {".".join(map(str, breach.path[:length])) for length in range(1, len(breach.path))}
    returned = [(rank, seen) for rank, seen in enumerate(outcome.ranks) if isinstance(seen, Returned)]
    others = [
        (rank, seen)
        for rank, seen in returned
        if not any(loaded(scenario, rank, breach.path, seen) for loaded in (is_loaded, is_loaded_beside))
    ]
    return any(inside & names(scenario, rank) for rank, _ in others) and all(
        bool(inside & passed[rank]) and is_kept(scenario, rank, breach.path, seen) for rank, seen in others
    )


def _asks_for_no_other_object(scenario: Scenario, rank: int, passed: set[str]) -> bool:
    """Whether all objects that are in the checkpoint and that the rank has are in what it passes over."""
    saved = saved_units(scenario)
    objects = [unit for unit in scenario.units("load") if unit.tensor is None and unit.is_on("load", rank)]
    return bool(passed) and all(
        bool(passed & {".".join(map(str, unit.path[:length])) for length in range(1, len(unit.path) + 1)})
        for unit in objects
        if unit.fqn in saved
    )


_LOST_BYTES = re.compile(r"load: rank (?P<rank>\d+) failed in planner\.load_bytes \(")


def _without_tensors(scenario: Scenario, rank: int) -> set[str]:
    """The names of the containers that have no tensor on that rank; what is in a tuple is one object, tensors too."""
    flattened = units(scenario.entries, "load", flatten=True, flatten_sharded=True)
    tensors = [unit.path for unit in flattened if unit.tensor is not None and unit.is_on("load", rank)]
    return {
        ".".join(map(str, path))
        for path, _ in _containers(scenario)
        if not any(inside[: len(path)] == path for inside in tensors)
    }


def _containers(scenario: Scenario) -> Iterator[tuple[Path, Nested]]:
    """The containers of the state dict that is loaded into, at any depth."""
    found = list(children(scenario.entries, "load"))
    for path, entry in found:
        if isinstance(entry, Nested):
            yield path, entry
            found += children(entry.entries, "load", path=path, sequence=entry.is_sequence)


ISSUES = (
    KnownIssue(
        id="empty-dict-in-list",
        title="a list with an empty dict before something else is saved, and then cannot be loaded",
        loses="a checkpoint that was reported as saved cannot be loaded into the state dict that it was made of",
        scenario=Scenario(entries=(Nested("a", "list", (Nested(0), TensorEntry(1))),)),
        matches=_asks_for(padding),
    ),
    KnownIssue(
        id="empty-dict-beside-objects",
        title="a list with an empty dict beside objects alone is saved item by item, and then asked for as a whole",
        loses="a checkpoint that was reported as saved cannot be loaded into the state dict that it was made of; with "
        "allow_partial_load it is, without the objects, in silence",
        scenario=Scenario(entries=(Nested("a", "list", (Nested(0), ObjectEntry(1))),)),
        matches=_asks_in_vain(lists_of_objects_left, lists_of_objects_left),
    ),
    KnownIssue(
        id="mistaken-for-2.3",
        title="a rank without a shard of a ShardedTensor takes the checkpoint for one of torch 2.3, and asks it for "
        "dicts of objects, or for tensors of which it has no shard",
        loses="a checkpoint cannot be loaded with a ShardedTensor that leaves a rank out beside a dict of objects; "
        "with allow_partial_load it is, without the objects, in silence",
        scenario=Scenario(
            entries=(
                TensorEntry("a", (1,), loaded=ChunkSharding(0, (0,))),
                Nested("b", "dict", (ObjectEntry("c"),)),
            ),
            save=Operation(2),
            load=Operation(2),
        ),
        matches=_asks_in_vain(_as_of_an_old_one, _of_an_old_one),
    ),
)
