"""Strategies for scenarios on any storage."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.entries import Entry, Nested, TensorEntry
from worlds.faults import Fault
from worlds.fitting import fitted, of_dtype, tensors_alone
from worlds.layouts import MeshSharding, Plain
from worlds.scenario import Scenario
from worlds.storages import SAFETENSORS, SHIPPED

from ._bounds import within_storages
from ._reused import reused, sampled_from
from ._telling import tell
from ._weighted import weighted
from .features import features
from .whole import BY_PATH, Failing, by_the_path, scenarios

__all__ = ["floating_entry", "storages", "stored_scenarios"]

_FLOATING = {"int64": "float64", "uint64": "float64", "int16": "float16", "uint16": "bfloat16", "int8": "float8_e5m2"}
_AT_LOAD = ("planner.load_bytes", "planner.resolve_tensor", "planner.commit_tensor")
_WEIGHTS = {"safetensors": 2, "consolidated": 3, "threaded": 3}


@reused
def storages() -> SearchStrategy[str]:
    """The names of storages; shrinks towards the file system."""
    return st.sampled_from(tuple(SHIPPED))


@reused
def _by_format() -> SearchStrategy[str]:
    """The same, but those with a format of their own more often: what other laws judge of DCP's own is true of it."""
    return weighted(*((_WEIGHTS.get(name, 1), st.just(name)) for name in SHIPPED))


@st.composite
def stored_scenarios(
    draw: DrawFn,
    *,
    names: SearchStrategy[str] | None = None,
    failing: Failing = "anything",
    mismatched: bool = False,
    max_world_size: int = 4,
    max_entries: int = 3,
) -> Scenario:
    """Any scenario, on a storage of those ``names``, by default any; what that does not support gives way.

    To the nearest that it does, see :func:`worlds.fitting.fitted`. Files of safetensors get tensors alone, mostly, and
    mostly contiguous ones, since that is all that they can hold; and, where they are made one, mostly floating-point
    ones and often by a save without ``checkpoint_id``: all else fails in released torch, so that nothing behind it
    would be seen; and often one file or several by name. What DCP finds by itself is named by its path alone in some
    calls. Where ranks fail, half of them do as the storage asks the planner for an item, since only that is raised
    within it. Shrinks as :func:`scenarios`, and towards the file system.
    """
    usual = _by_format() if failing == "nothing" else storages()
    storage = within_storages(draw(usual if names is None else names, label="storage"))
    anything = draw(sampled_from((False,) * 9 + (True,)), label="anything, if safetensors")
    without_id = draw(st.booleans(), label="without checkpoint_id, if consolidated")
    by_path = draw(sampled_from(BY_PATH), label="found by the path, if it can be")
    floating = draw(sampled_from((True, True, True, False)), label="floating point alone, if consolidated")
    contiguous = draw(sampled_from((True, True, True, False)), label="contiguous, if safetensors")
    inside = draw(st.booleans(), label="failing within the storage")
    at_load = draw(sampled_from(_AT_LOAD), label="where, if at load")
    count = draw(sampled_from((0, 0, 1, 2, 3)), label="files by name, if safetensors")
    unsaved = draw(sampled_from((False,) * 9 + (True,)), label="a file of what is not saved")
    scenario = draw(
        scenarios(
            failing=failing,
            mismatched=mismatched,
            max_world_size=max_world_size,
            max_entries=max_entries,
            spared=failing != "nothing" or mismatched,
        ),
        label="scenario",
    )
    if inside:
        scenario = replace(scenario, faults=_within(scenario.faults, at_load))
    scenario = fitted(scenario, storage)
    if storage in SAFETENSORS and not anything:
        scenario = replace(scenario, entries=tensors_alone(scenario.entries))
    if storage in SAFETENSORS and contiguous:
        scenario = replace(scenario, entries=tuple(map(_contiguous, scenario.entries)))
    if storage == "consolidated" and floating:
        scenario = replace(scenario, entries=tuple(map(_floating, scenario.entries)))
    if storage == "consolidated" and without_id and not anything and scenario.save.api != "legacy":
        scenario = replace(scenario, save=replace(scenario.save, named_by="storage"))
    if storage in SAFETENSORS and count:
        indices = _file_indices(scenario, count, unsaved=unsaved)
        scenario = replace(scenario, writer=replace(scenario.writer, file_indices=indices))
    if storage in ("fsspec", "memory"):
        scenario = by_the_path(scenario, by_path)
    tell(features(scenario))
    return scenario


def _file_indices(scenario: Scenario, count: int, *, unsaved: bool) -> tuple[tuple[str, int], ...]:
    """A file for each name that is saved, in turn; one more, if so, for a name that is not, as a whole model has it."""
    names = list(dict.fromkeys(unit.fqn for unit in scenario.units("save")))
    found = [(name, place % count + 1) for place, name in enumerate(names)]
    more = unsaved and found and "unsaved" not in names
    return (*found, ("unsaved", max(number for _, number in found) + 1)) if more else tuple(found)


def _within(faults: tuple[Fault, ...], at_load: str) -> tuple[Fault, ...]:
    """The same exceptions on the same ranks, where the storage asks the planner for an item or hands it one."""
    hooks = {"save": "planner.resolve_data", "load": at_load}
    by_rank = {fault.rank: replace(fault, hook=hooks[fault.operation], through="call") for fault in reversed(faults)}
    return tuple(by_rank[rank] for rank in sorted(by_rank))


def _contiguous(entry: Entry) -> Entry:
    """The entry in memory without gaps or lazy bits at save."""
    if isinstance(entry, Nested):
        return replace(entry, entries=tuple(map(_contiguous, entry.entries)))
    if not isinstance(entry, TensorEntry) or not isinstance(entry.saved, Plain | MeshSharding):
        return entry
    if entry.saved.memory == "gradient":  # which is contiguous
        return entry
    return replace(entry, saved=replace(entry.saved, memory="contiguous"))


def _floating(entry: Entry) -> Entry:
    if isinstance(entry, Nested):
        return replace(entry, entries=tuple(map(_floating, entry.entries)))
    return floating_entry(entry) if isinstance(entry, TensorEntry) else entry


def floating_entry(entry: TensorEntry) -> TensorEntry:
    """The entry with a floating-point dtype in the place of any other, of as many bytes where that is possible."""
    return entry if "float" in entry.dtype else of_dtype(entry, _FLOATING.get(entry.dtype, "float32"))
