"""Known issues of one file of safetensors that is made of all parts, with ``enable_consolidation``."""

from __future__ import annotations

from dataclasses import replace

from worlds.entries import TensorEntry
from worlds.layouts import ChunkSharding
from worlds.operations import Operation, WriterOptions
from worlds.outcome import OperationOutcome
from worlds.scenario import Scenario

from ..verdict import Breach, Verdict
from ..violations import LostFailure, NotLoaded, NotRefused, WrongBits, WrongException, WrongObject
from .entry import KnownIssue, blamed, is_due
from .safetensors import Predicate, on_storages, says, scenario_of, tensors_saved, wrong_tensor

__all__ = ["ISSUES"]


def _is_consolidated(matches: Predicate) -> Predicate:
    return on_storages(("consolidated",), matches)


def _halves_complex(verdict: Verdict, breach: Breach) -> bool:
    """Whether the one file cannot be read, and there is a complex tensor in it."""
    there = any(entry.dtype.startswith("complex") for entry in tensors_saved(verdict).values())
    return there and says("plan", "global metadata read failed: Error while deserializing header: invalid")(
        verdict, breach
    )


def _makes_of_nothing(verdict: Verdict, breach: Breach) -> bool:
    """Whether the files cannot be read, and one of the names that were given a number was not saved."""
    scenario = verdict.scenario
    saved = {unit.fqn for unit in scenario.units("save")}
    unsaved = any(name not in saved for name, _ in scenario.writer.file_indices)
    return unsaved and says("plan", "global metadata read failed: Error while deserializing header: invalid")(
        verdict, breach
    )


def _empties_scalars(verdict: Verdict, breach: Breach) -> bool:
    wrong = wrong_tensor(verdict, breach)
    return wrong is not None and wrong.shape == () and all(" seen 00" in line for line in breach.detail)


def _holds_no_tensor(verdict: Verdict, breach: Breach) -> bool:
    empty = not verdict.scenario.units("save")
    return empty and says("write", r"max\(\) (arg|iterable argument) is (an empty sequence|empty)")(verdict, breach)


def _mixes_with_parts(verdict: Verdict, breach: Breach) -> bool:
    """Whether a rank takes a part's file for the whole, where both lie in one directory."""
    return verdict.scenario.save.tells_path and says("read", r"^req MetadataIndex\(.* mismatch sizes ")(verdict, breach)


def _is_what_was_in_memory(verdict: Verdict, breach: Breach) -> bool:
    """Whether it is in a tensor that the load has made in the place of one on the meta device."""
    name = ".".join(map(str, breach.path))
    return breach.kind is WrongBits and any(
        leaf.fqn == name and leaf.entry.loaded is not None and leaf.entry.loaded.memory == "meta"
        for leaf in verdict.scenario.leaves("load")
    )


def _lies_deeper(verdict: Verdict, breach: Breach) -> bool:
    """Whether nothing that was saved is found at the checkpoint's path."""
    load = verdict.outcome.load
    if breach.operation != "load" or verdict.scenario.save.tells_path or load is None:
        return False
    partial = verdict.scenario.planner.allow_partial_load and (
        breach.kind in (NotLoaded, NotRefused, WrongObject) or _is_what_was_in_memory(verdict, breach)
    )
    nothing = breach.kind in (LostFailure, WrongException) and _reads_no_item(verdict.scenario, load)
    return partial or nothing or says("plan", r"^Missing key in checkpoint state_dict: ")(verdict, breach)


def _reads_no_item(scenario: Scenario, load: OperationOutcome) -> bool:
    """Whether no rank failed at what it was to read, where some were to, and all that failed did as they had to."""
    faults = enumerate(scenario.all_faults)
    items = {index for index, fault in faults if fault.operation == "load" and fault.place.per_item}
    named = [*blamed(load, "plan").items(), *blamed(load, "read").items()]
    reached = {hit.index for hit in load.hits}
    due = (load.returned or bool(named)) and all(is_due(scenario, "load", *each) for each in named)
    return bool(items) and not items & reached and due


ISSUES = (
    KnownIssue(
        id="consolidated-integers",
        title="with enable_consolidation, integer and bool tensors cannot be saved: torch.finfo is asked for them",
        loses="a model with an integer buffer cannot be saved, whatever else it holds",
        upstream="pytorch/pytorch#192485",
        scenario=scenario_of(TensorEntry("a", dtype="int64"), "consolidated"),
        matches=_is_consolidated(says("write", r"torch\.finfo\(\) requires a floating point input type")),
    ),
    KnownIssue(
        id="consolidated-complex",
        title="with enable_consolidation, complex tensors get half their bytes: torch.finfo is asked for them",
        loses="a checkpoint that was reported as saved cannot be loaded, with none of its tensors",
        scenario=scenario_of(TensorEntry("a", (1,), dtype="complex64"), "consolidated"),
        matches=_is_consolidated(_halves_complex),
    ),
    KnownIssue(
        id="consolidated-scalars",
        title="with enable_consolidation, every 0-d tensor is written as zero",
        loses="a loss scale, a temperature or a step counter silently is 0 in the file that others are given",
        scenario=scenario_of(TensorEntry("a"), "consolidated"),
        matches=_is_consolidated(_empties_scalars),
    ),
    KnownIssue(
        id="consolidated-nothing",
        title="with enable_consolidation, a state dict without tensors cannot be saved: max() of an empty sequence",
        loses="the save of an empty state dict fails, and says nothing that one understands",
        scenario=scenario_of(None, "consolidated"),
        matches=_is_consolidated(_holds_no_tensor),
    ),
    KnownIssue(
        id="consolidated-beside-its-parts",
        title="with enable_consolidation, checkpoint_id makes HuggingFaceStorageWriter forget its directory for parts",
        loses="parts and whole are in one directory, and what reads it takes a part for the whole, and fails",
        scenario=scenario_of(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1))), "consolidated", Operation(2)),
        matches=_is_consolidated(_mixes_with_parts),
    ),
    KnownIssue(
        id="consolidated-names-not-saved",
        title="with enable_consolidation, a name in fqn_to_index_mapping that was not saved breaks the file it is for",
        loses="a checkpoint that was reported as saved cannot be loaded, with none of its tensors",
        scenario=replace(
            scenario_of(TensorEntry("a", (1,)), "consolidated"), writer=WriterOptions(file_indices=(("a", 1), ("b", 2)))
        ),
        matches=_is_consolidated(_makes_of_nothing),
    ),
    KnownIssue(
        id="consolidated-without-distributed",
        title="with enable_consolidation and without save_distributed, all goes to a directory below the path",
        loses="a checkpoint that was reported as saved cannot be loaded at its path, where there is nothing",
        scenario=scenario_of(TensorEntry("a"), "whole_consolidated", Operation(api="legacy")),
        matches=on_storages(("whole_consolidated",), _lies_deeper),
    ),
)
