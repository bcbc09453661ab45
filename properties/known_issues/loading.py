"""Known issues of loading: what is taken that should be refused, or ends up where it should not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from worlds.entries import Nested, ObjectEntry, Path, TensorEntry
from worlds.operations import PlannerOptions
from worlds.outcome import ObjectState, Raised, Returned
from worlds.scenario import Scenario
from worlds.state_tree import Unit

from ..expected_state import POISON_INSTANCE, expected_state
from ..oracle import names_refusal
from ..reach import refusals, saved_units
from ..verdict import Breach, Verdict
from ..violations import (
    NotInPlace,
    NotLoaded,
    NotRefused,
    TouchedTarget,
    UnexpectedFailure,
    WrongKeys,
    WrongObject,
    WrongPhase,
)
from .entry import KnownIssue, operation_outcome, raised_alone

__all__ = ["ISSUES", "is_kept", "is_loaded", "is_loaded_beside"]


def _unit(scenario: Scenario, fqn: str) -> Unit:
    return next(unit for unit in scenario.units("load") if unit.fqn == fqn)


def _is_cast(scenario: Scenario, fqn: str) -> bool:
    """Whether the tensor has another dtype in the checkpoint, and is the same but for that."""
    saved, wanted = saved_units(scenario).get(fqn), _unit(scenario, fqn).tensor
    if saved is None or saved.tensor is None or wanted is None:
        return False
    return saved.tensor.shape == wanted.shape and saved.tensor.dtype != wanted.dtype


def _is_object_in_checkpoint(scenario: Scenario, fqn: str) -> bool:
    saved = saved_units(scenario).get(fqn)
    return saved is not None and saved.tensor is None and _unit(scenario, fqn).tensor is not None


def _silently_taken(scenario: Scenario, rank: int) -> set[str]:
    """Why a rank does not refuse what it should, if there is a known reason for each thing that it should refuse."""
    names = refusals(scenario, "load").get(rank, ())
    reasons = {
        fqn: "cast" if _is_cast(scenario, fqn) else "object" if _is_object_in_checkpoint(scenario, fqn) else ""
        for fqn in names
    }
    return set() if "" in reasons.values() else set(reasons.values())


def _why_not_refused(verdict: Verdict, breach: Breach) -> set[str]:
    scenario = verdict.scenario
    if breach.operation != "load":
        return set()
    outcome = operation_outcome(verdict, breach)
    failures = [failure for seen in outcome.ranks if isinstance(seen, Raised) for failure in seen.failures or ()]
    named = {rank for rank, _ in failures}
    silent = {rank: why for rank in refusals(scenario, "load") if (why := _silently_taken(scenario, rank))}
    if breach.kind is NotRefused:
        # A rank that took it may have come to a fault behind, and is named for that.
        refused = {rank for rank, error in failures if names_refusal(scenario, "load", rank, error)}
        forgotten = set(refusals(scenario, "load")) - refused
        return set().union(*(silent[rank] for rank in forgotten)) if forgotten <= set(silent) else set()
    # It was taken, and then could not be converted.
    in_read = all(isinstance(seen, Raised) and seen.phase == "read" for seen in outcome.ranks)
    failed = named if breach.kind in (UnexpectedFailure, WrongPhase) and in_read else set()
    if not scenario.save.coordinated:
        failed = set(raised_alone(outcome))
    return set().union(*(silent[rank] for rank in failed)) if failed <= set(silent) else set()


def _casts(verdict: Verdict, breach: Breach) -> bool:
    return "cast" in _why_not_refused(verdict, breach)


def _replaces_tensor(verdict: Verdict, breach: Breach) -> bool:
    return "object" in _why_not_refused(verdict, breach)


def _makes_string_of_int(verdict: Verdict, breach: Breach) -> bool:
    """Every rank has the keys that it should have, and beside an int the same as a string."""
    if breach.kind is not WrongKeys or breach.operation != "load":
        return False
    sides = list(_paths(verdict, loaded=True))
    same = all({_as_text(path) for path in wanted} == {_as_text(path) for path in got} for wanted, got in sides)
    return same and any(got > wanted for wanted, got in sides)


def _as_text(path: Path) -> tuple[str, ...]:
    return tuple(map(str, path))


def _paths(verdict: Verdict, *, loaded: bool) -> Iterator[tuple[set[Path], set[Path]]]:
    """The paths that the state dict of each rank that returned should have, as after a load or before it, and has."""
    outcome = verdict.outcome.load
    assert outcome is not None
    for rank, seen in enumerate(outcome.ranks):
        if isinstance(seen, Returned):
            wanted = expected_state(verdict.scenario, "load", rank, loaded=loaded)
            yield {state.path for state in wanted}, {state.path for state in seen.state}


def _replaces_list(verdict: Verdict, breach: Breach) -> bool:
    if breach.kind not in (NotInPlace, TouchedTarget) or breach.operation != "load":
        return False
    return "is another list than the one" in breach.headline


def _does_not_load_objects(verdict: Verdict, breach: Breach) -> bool:
    options = verdict.scenario.planner
    if breach.operation != "load" or options.flatten_state_dict or not options.flatten_sharded_tensors:
        return False
    if breach.kind is WrongKeys:
        as_handed_in = all(wanted == got for wanted, got in _paths(verdict, loaded=False))
        return as_handed_in and any(wanted != got for wanted, got in _paths(verdict, loaded=True))
    unit = next((unit for unit in verdict.scenario.units("load") if unit.path == breach.path[:1]), None)
    if unit is None or unit.tensor is not None:
        return False
    return breach.kind is NotLoaded or (breach.kind is WrongObject and _is_as_handed_in(verdict, breach.path))


def _is_as_handed_in(verdict: Verdict, path: Path) -> bool:
    """Whether what is there is what was there before the load, on every rank that returned."""
    outcome = verdict.outcome.load
    assert outcome is not None
    return all(
        is_kept(verdict.scenario, rank, path, seen)
        for rank, seen in enumerate(outcome.ranks)
        if isinstance(seen, Returned)
    )


def is_kept(scenario: Scenario, rank: int, path: Path, seen: Returned) -> bool:
    """Whether the object that is there on the rank is the one that was there before the load, or what becomes of it."""
    before = _objects(path, expected_state(scenario, "load", rank, loaded=False))
    return _objects(path, seen.state) in (before, [_erased(each) for each in before])


def _erased(state: ObjectState) -> ObjectState:
    """What a load makes of an object before it reads anything: ``None`` of each instance of a class in it."""
    text = state.text.replace(POISON_INSTANCE, "None")
    return replace(state, type="NoneType" if text == "None" else state.type, text=text)


def _erases(verdict: Verdict, breach: Breach) -> bool:
    """An object that was not loaded is ``None``, or is one in which something is."""
    if breach.kind not in (WrongObject, TouchedTarget) or breach.operation != "load" or len(breach.detail) != 2:
        return False
    wanted, seen = (line.split(maxsplit=1)[1] for line in breach.detail)
    kind, _, text = wanted.partition(" ")
    erased = _erased(ObjectState(breach.path, kind, text))
    return POISON_INSTANCE in wanted and seen == f"{erased.type} {erased.text}"


def is_loaded(scenario: Scenario, rank: int, path: Path, seen: Returned) -> bool:
    """Whether the object that is there on the rank is the one that was saved."""
    return _objects(path, seen.state) == _objects(path, expected_state(scenario, "load", rank, loaded=True))


def is_loaded_beside(scenario: Scenario, rank: int, path: Path, seen: Returned) -> bool:
    """Whether the object that was saved is there under the text of its int keys, as ``int-keys`` says."""
    wanted = _objects(path, expected_state(scenario, "load", rank, loaded=True))
    others = {state.path for state in seen.state if _as_text(state.path) == _as_text(path)} - {path}
    return any([replace(each, path=path) for each in _objects(other, seen.state)] == wanted for other in others)


def _objects(path: Path, state: Iterable[object]) -> list[ObjectState]:
    return [each for each in state if isinstance(each, ObjectState) and each.path == path]


_INT_KEY = Nested("a", "dict", (ObjectEntry(0),))
_LIST = Nested("a", "list", (TensorEntry(0),))

ISSUES = (
    KnownIssue(
        id="dtype-cast",
        title="a tensor is loaded into one of another dtype without a word",
        loses="a wrong target dtype goes unnoticed: values are rounded, cut or wrapped around in silence",
        scenario=Scenario(entries=(TensorEntry("a", loaded=None), TensorEntry("a", dtype="float64", saved=None))),
        matches=_casts,
        upstream="pytorch/pytorch#187138",
    ),
    KnownIssue(
        id="object-into-tensor",
        title="an object in the checkpoint takes the place of the tensor that was to be loaded",
        loses="the tensor keeps its old values, and the state dict silently holds something else in its place",
        scenario=Scenario(entries=(ObjectEntry("a", loaded=None), TensorEntry("a", saved=None))),
        matches=_replaces_tensor,
    ),
    KnownIssue(
        id="int-keys",
        title="an object under an int key is loaded under the key's text, beside the int",
        loses="the object under the int keeps its old value, in silence (as in a scheduler's or optimizer's state)",
        scenario=Scenario(entries=(_INT_KEY,)),
        matches=_makes_string_of_int,
        upstream="pytorch/pytorch#153842",
    ),
    KnownIssue(
        id="objects-erased",
        title="a load puts None where an object of a class of its own was, before it has read anything",
        loses="what is not in the checkpoint is lost with allow_partial_load, and whatever is in a dict in a load that "
        "fails",
        scenario=Scenario(
            entries=(ObjectEntry("a", form="instance", saved=None),), planner=PlannerOptions(allow_partial_load=True)
        ),
        matches=_erases,
    ),
    KnownIssue(
        id="list-replaced",
        title="a load puts a new list where one was that holds a tensor or a dict, even if it fails",
        loses="whoever else holds the list does not see the objects in it that were loaded",
        scenario=Scenario(entries=(_LIST,)),
        matches=_replaces_list,
    ),
    KnownIssue(
        id="unflattened-objects",
        title="with flatten_state_dict=False no object is loaded, unless flatten_sharded_tensors=False as well",
        loses="everything that is no tensor keeps its old value, and the load reports success",
        scenario=Scenario(entries=(ObjectEntry("a"),), planner=PlannerOptions(flatten_state_dict=False)),
        matches=_does_not_load_objects,
    ),
)
