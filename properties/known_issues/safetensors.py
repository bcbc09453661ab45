"""Known issues of files of safetensors: what their writer drops or cannot write, and what their reader does not say."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from worlds.entries import Entry, ObjectEntry, TensorEntry
from worlds.faults import Fault
from worlds.layouts import ChunkSharding, EnumerableSharding, Plain, Tile
from worlds.operations import Operation
from worlds.outcome import ErrorRecord
from worlds.scenario import Scenario
from worlds.state_tree import ties
from worlds.storages import FORMATTED, SAFETENSORS

from ..verdict import Breach, Verdict
from ..violations import (
    BadStorageIndex,
    LostFailure,
    NotLoaded,
    UnexpectedFailure,
    WrongBits,
)
from .alone import IN_ONE_MEMORY, NOT_CONTIGUOUS, ends_alone, has_gaps
from .entry import KnownIssue, blamed, is_due, raised_alone

__all__ = [
    "ISSUES",
    "Predicate",
    "has_several_shards",
    "on_storages",
    "says",
    "scenario_of",
    "tensors_saved",
    "wrong_tensor",
]

Predicate = Callable[[Verdict, Breach], bool]


def _fails(verdict: Verdict, breach: Breach, phase: str, by: Callable[[ErrorRecord], bool]) -> bool:
    """Whether ranks that every rank blames for that phase failed so, and all others as they had to."""
    name: Literal["save", "load"] = "save" if phase == "write" else "load"
    outcome = verdict.outcome.save if name == "save" else verdict.outcome.load
    if breach.operation != name or not (breach.kind is UnexpectedFailure or breach.kind.law == "blame"):
        return False
    named = {} if outcome is None else blamed(outcome, phase)
    others = {rank: error for rank, error in named.items() if not by(error)}
    return len(others) < len(named) and all(
        is_due(verdict.scenario, name, rank, error) for rank, error in others.items()
    )


def says(phase: str, text: str) -> Predicate:
    """Whether that is said in that phase, by whichever rank, and nothing else but what has to be."""
    return lambda verdict, breach: _fails(
        verdict, breach, phase, lambda error: re.search(text, error.message) is not None
    )


def tensors_saved(verdict: Verdict) -> dict[str, TensorEntry]:
    """What was saved under each name, of tensors."""
    leaves = verdict.scenario.leaves("save")
    return {leaf.fqn: leaf.entry for leaf in leaves if isinstance(leaf.entry, TensorEntry)}


def wrong_tensor(verdict: Verdict, breach: Breach) -> TensorEntry | None:
    """The tensor whose elements are not what was saved, or were not loaded, if that is what is wrong."""
    if breach.operation != "load" or breach.kind not in (NotLoaded, WrongBits):
        return None
    return tensors_saved(verdict).get(".".join(map(str, breach.path)))


def has_several_shards(entry: TensorEntry) -> bool:
    """Whether a rank has more than one shard of it, even if one is empty."""
    saved = entry.saved
    return saved is not None and any(
        len(saved.parts(entry.shape, rank)) > 1 for rank in range(saved.highest_rank() + 1)
    )


def _loses_shards(verdict: Verdict, breach: Breach) -> bool:
    if breach.kind is BadStorageIndex:
        return breach.fact == "not in the file" and _lies_behind_the_end(verdict)
    wrong = wrong_tensor(verdict, breach)
    if wrong is not None:
        return has_several_shards(wrong)
    if _is_never_handed_any(verdict, breach):
        return True
    names = {name for name, entry in tensors_saved(verdict).items() if has_several_shards(entry)}

    def misses(error: ErrorRecord) -> bool:
        said = _SIZE_MISMATCH.fullmatch(error.message)
        return said is not None and said["name"] in names

    return _fails(verdict, breach, "plan", misses)


def _lies_behind_the_end(verdict: Verdict) -> bool:
    """Whether, by the index, tensors with several shards on a rank reach further than their file, and they alone."""
    metadata, sizes = verdict.outcome.metadata, {file.name: file.size for file in verdict.outcome.files or ()}
    if verdict.scenario.storage != FORMATTED or metadata is None:
        return False
    tensors = tensors_saved(verdict)
    beyond = {record.fqn for record in metadata.storage if record.start + record.length > sizes.get(record.file, -1)}
    return bool(beyond) and all(name in tensors and has_several_shards(tensors[name]) for name in beyond)


def _is_never_handed_any(verdict: Verdict, breach: Breach) -> bool:
    """Whether a rank is not handed an element, at which it was to fail, of tensors all of which have lost shards."""
    said = _LOST.match(breach.headline) if breach.kind is LostFailure else None
    load = verdict.outcome.load
    if said is None or load is None:
        return False
    rank, scenario = int(said["rank"]), verdict.scenario
    wanted = [entry for entry in tensors_saved(verdict).values() if _has_elements(entry, rank)]
    reached = any(scenario.faults[hit.index].rank == rank for hit in load.hits)
    return bool(wanted) and not reached and all(has_several_shards(entry) for entry in wanted)


def _has_elements(entry: TensorEntry, rank: int) -> bool:
    """Whether a rank is to load any."""
    parts = () if entry.loaded is None else entry.loaded.parts(entry.shape, rank)
    return any(math.prod(part.sizes) for part in parts)


_LOST = re.compile(r"load: rank (?P<rank>\d+) failed in planner\.(resolve|commit)_tensor \(")
_SIZE_MISMATCH = re.compile(r"Size mismatch between saved .* and current: .* for (?P<name>.*)", re.DOTALL)


def _reaches_less_far(verdict: Verdict, breach: Breach) -> bool:
    """Whether ranks miss a tensor of that size, of which no shard that was saved lies at the end of each dim."""
    names = {name for name, entry in tensors_saved(verdict).items() if not _reaches_the_end(entry)}

    def misses(error: ErrorRecord) -> bool:
        said = _SIZE_MISMATCH.fullmatch(error.message)
        return said is not None and said["name"] in names

    return _fails(verdict, breach, "plan", misses)


def _reaches_the_end(entry: TensorEntry) -> bool:
    if not isinstance(entry.saved, EnumerableSharding):  # all others reach it
        return True
    kept: dict[tuple[int, ...], tuple[int, ...]] = {}
    for tile in entry.saved.tiles:  # of several that begin at one place, one is saved
        kept[tile.offsets] = min(tile.sizes, kept.get(tile.offsets, tile.sizes))
    ends = [max(offsets[dim] + sizes[dim] for offsets, sizes in kept.items()) for dim in range(len(entry.shape))]
    return ends == list(entry.shape)


def _is_refused(text: str, alone: Predicate, suspect: Callable[[TensorEntry], bool]) -> Predicate:
    """Whether such a tensor is refused with that text; or was by a thread of a writer with several, unheard."""

    def matches(verdict: Verdict, breach: Breach) -> bool:
        if says("write", text)(verdict, breach) or alone(verdict, breach):
            return True
        return any(map(suspect, tensors_saved(verdict).values())) and _is_unheard(verdict, breach)

    return matches


def _refuses_ties(verdict: Verdict, breach: Breach) -> bool:
    is_refused = _is_refused(IN_ONE_MEMORY, ends_alone("safetensors-tied"), lambda entry: bool(entry.tied))
    return any(ties(verdict.scenario.leaves("save"))) and is_refused(verdict, breach)


def _is_unheard(verdict: Verdict, breach: Breach) -> bool:
    """Whether a thread of a writer with several has failed, which nobody is told.

    See ``second-writer-thread``: the thread's file is empty, and neither who loads nor who makes one file can read it;
    where there is an index, it has none of what was to be there.
    """
    scenario = verdict.scenario
    if scenario.writer.thread_count < 2:
        return False
    if scenario.storage == "consolidated":
        return says("write", "unpack requires a buffer of 8 bytes")(verdict, breach)
    if scenario.storage == FORMATTED:
        lacking = breach.kind is BadStorageIndex and breach.fact == "no entry"
        return lacking or says("read", r"^MetadataIndex\(fqn=")(verdict, breach) or _lacks_alone(verdict, breach)
    left_empty = any(file.size == 0 for file in verdict.outcome.files or ())
    unreadable = says("plan", "global metadata read failed: Error while deserializing header: header too small")
    return left_empty and unreadable(verdict, breach)


def _lacks_alone(verdict: Verdict, breach: Breach) -> bool:
    """Whether ranks fail for want of an index's entry that saved without collectives, and so load alone."""
    load = verdict.outcome.load
    if verdict.scenario.save.coordinated or breach.kind is not UnexpectedFailure or load is None:
        return False
    errors = raised_alone(load).values()
    return bool(errors) and all(
        error.type == "KeyError" and error.message.startswith("MetadataIndex(fqn=") for error in errors
    )


def _forgets_lazy_bits(verdict: Verdict, breach: Breach) -> bool:
    wrong = wrong_tensor(verdict, breach)
    return wrong is not None and wrong.saved is not None and wrong.saved.memory in ("conjugated", "negated")


def _holds_objects(verdict: Verdict, breach: Breach) -> bool:
    """Whether a file with something else than tensors in it cannot be read, by who makes one of them or who loads."""
    objects = any(unit.tensor is None for unit in verdict.scenario.units("save"))
    unreadable = says("plan", "global metadata read failed: Error while deserializing header")(verdict, breach)
    # A header that is none says that it is longer than any memory.
    too_long = _fails(verdict, breach, "write", lambda error: error.type == "MemoryError")
    return objects and (unreadable or (too_long and verdict.scenario.storage == "consolidated"))


def on_storages(storages: tuple[str, ...], matches: Predicate) -> Predicate:
    return lambda verdict, breach: verdict.scenario.storage in storages and matches(verdict, breach)


def _of_safetensors(matches: Predicate) -> Predicate:
    return on_storages(SAFETENSORS, matches)


def scenario_of(entry: Entry | None, storage: str = "safetensors", save: Operation | None = None) -> Scenario:
    save = save or Operation(api="legacy" if storage == "consolidated" else "current")
    entries = () if entry is None else (entry,)
    return Scenario(entries=entries, save=save, load=Operation(save.world_size), storage=storage)


_TWO_SHARDS = EnumerableSharding((Tile(0, (0,), (1,)), Tile(0, (1,), (1,))))
ISSUES = (
    KnownIssue(
        id="safetensors-one-shard-a-rank",
        title="what writes files of safetensors writes one shard of a tensor for each rank, and drops the others",
        loses="the other shards are silently not in the checkpoint, and are not loaded",
        scenario=scenario_of(TensorEntry("a", (2,), saved=_TWO_SHARDS)),
        matches=on_storages((*SAFETENSORS, FORMATTED), _loses_shards),
    ),
    KnownIssue(
        id="safetensors-size-by-shards",
        title="HuggingFaceStorageReader takes a tensor to end where its shards do, but those of an empty one need not",
        loses="a checkpoint that was reported as saved cannot be loaded, for the sake of a tensor without elements",
        upstream="pytorch/pytorch#189945",
        scenario=scenario_of(TensorEntry("a", (1, 0), saved=EnumerableSharding((Tile(0, (0, 0), (0, 0)),)))),
        matches=_of_safetensors(_reaches_less_far),
    ),
    KnownIssue(
        id="safetensors-not-contiguous",
        title="what writes files of safetensors cannot save a tensor that is not contiguous",
        loses="a transposed or strided tensor, which DCP's own files take, cannot be saved",
        scenario=scenario_of(TensorEntry("a", (2, 2), saved=Plain(memory="transposed"))),
        matches=on_storages(
            (*SAFETENSORS, FORMATTED),
            _is_refused(NOT_CONTIGUOUS, ends_alone("safetensors-not-contiguous"), has_gaps),
        ),
    ),
    KnownIssue(
        id="safetensors-tied",
        title="what writes files of safetensors cannot save two tensors that are in one memory",
        loses="a model that ties weights, as of embedding and output, which DCP's own files take, cannot be saved",
        scenario=Scenario((TensorEntry("a"), TensorEntry("b", tied="a")), storage="safetensors"),
        matches=on_storages((*SAFETENSORS, FORMATTED), _refuses_ties),
    ),
    KnownIssue(
        id="safetensors-lazy-bits",
        title="HuggingFaceStorageWriter forgets that a tensor is conjugated or negated lazily",
        loses="the checkpoint silently holds the conjugate, or the negative, of what was to be saved",
        scenario=scenario_of(TensorEntry("a", saved=Plain(memory="negated"))),
        matches=_of_safetensors(_forgets_lazy_bits),
    ),
    KnownIssue(
        id="safetensors-with-objects",
        title="HuggingFaceStorageWriter takes what is no tensor, and writes a file that nothing can read",
        loses="a checkpoint that was reported as saved cannot be loaded, with none of its tensors",
        scenario=scenario_of(ObjectEntry("a")),
        matches=_of_safetensors(_holds_objects),
    ),
    KnownIssue(
        id="safetensors-reader-threads",
        title="HuggingFaceStorageReader(thread_count=2) loses what its threads raise, and only counts the files",
        loses="a load by several threads that fails says nothing of the reason: a full memory, a disk, another shape",
        scenario=replace(
            scenario_of(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1))), "threaded", Operation(2)),
            faults=(Fault("load", 0, "planner.resolve_tensor"),),
        ),
        matches=on_storages(("threaded",), says("read", r"^Not all files were processed: ")),
    ),
)
