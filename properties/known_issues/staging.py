"""Known issues of ``async_save``: what its staging copies wrongly, or cannot copy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from worlds.entries import Nested, ObjectEntry, TensorEntry
from worlds.layouts import ChunkSharding, EnumerableSharding, MeshSharding, Plain, Replicate, Tile
from worlds.operations import Operation, Stager
from worlds.scenario import Scenario

from ..reach import refusals
from ..staged_objects import as_staged, at_path, wrongly_staged
from ..verdict import Breach, Verdict
from ..violations import (
    BadChunks,
    MetadataWrong,
    NotLoaded,
    UnexpectedFailure,
    WrongBits,
    WrongException,
    WrongObject,
    WrongRanks,
)
from .alone import DEFAULT_STAGERS, ends_alone
from .entry import KnownIssue, blamed, operation_outcome

__all__ = ["ISSUES"]


def _stages(scenario: Scenario, stagers: Sequence[Stager]) -> bool:
    return scenario.save.uploads and scenario.save.stager in stagers


def _wrong_tensor(verdict: Verdict, breach: Breach) -> TensorEntry | None:
    """The tensor, as it was saved, whose bits were wrong after the load."""
    if breach.kind not in (WrongBits, NotLoaded) or breach.operation != "load":
        return None
    fqn = ".".join(map(str, breach.path))
    entries = (leaf.entry for leaf in verdict.scenario.leaves("save") if leaf.fqn == fqn)
    entry = next((entry for entry in entries if isinstance(entry, TensorEntry)), None)
    # A wrong bool is always what the target was before the load.
    as_before = entry is not None and entry.dtype == "bool"
    return entry if breach.kind is WrongBits or as_before else None


def _loses_lazy_bits(verdict: Verdict, breach: Breach) -> bool:
    entry = _wrong_tensor(verdict, breach)
    lazy = entry is not None and _is_lazy(entry)
    return (lazy or _is_lazy_within(verdict, breach)) and _stages(verdict.scenario, DEFAULT_STAGERS)


def _is_lazy(entry: object) -> bool:
    return (
        isinstance(entry, TensorEntry) and entry.saved is not None and entry.saved.memory in ("conjugated", "negated")
    )


def _is_lazy_within(verdict: Verdict, breach: Breach) -> bool:
    """Whether a container that is one object differs in the bits of such tensors in it, and in nothing else."""
    if breach.kind is not WrongObject or breach.operation != "load" or len(breach.detail) != 2:
        return False
    leaves = [leaf for leaf in verdict.scenario.leaves("save") if leaf.path[: len(breach.path)] == breach.path]
    tensors = [leaf.entry for leaf in leaves if isinstance(leaf.entry, TensorEntry)]
    seen = breach.detail[1].split(maxsplit=1)[1]
    right = next((text for text in _staged_texts(verdict, breach) if _same_but_bits(text, seen)), None)
    if right is None or right == seen:
        return False
    texts = list(zip(_TENSOR.findall(right), _TENSOR.findall(seen), strict=True))
    if len(texts) != len(tensors):
        return False
    return all(_is_lazy(entry) for entry, (one, other) in zip(tensors, texts, strict=True) if one != other)


def _stages_no_copy(verdict: Verdict, breach: Breach) -> bool:
    entry = _wrong_tensor(verdict, breach)
    scalar = entry is not None and entry.shape == () and isinstance(entry.saved, MeshSharding)
    # What the caller wrote over it once async_save() had returned, of which torch makes 1 where it copies a bool.
    written = " seen 01" if scalar and entry is not None and entry.dtype == "bool" else " seen ee"
    overwritten = all(written in line for line in breach.detail)
    return scalar and overwritten and _stages(verdict.scenario, ("writer",))


def _same_but_bits(one: str, other: str) -> bool:
    return _TENSOR.sub(r"\1", one) == _TENSOR.sub(r"\1", other)


def _staged_texts(verdict: Verdict, breach: Breach, wrongly: str = "") -> Iterator[str]:
    """What is there of the object if it was staged as it is known to be; if that issue is one of those that say so."""
    save = verdict.scenario.save
    for entry in at_path(verdict.scenario.entries, breach.path):
        is_object = isinstance(entry, ObjectEntry) or (isinstance(entry, Nested) and entry.container == "tuple")
        if is_object and (not wrongly or wrongly in wrongly_staged(entry, save)):
            yield " ".join(as_staged(breach.path, entry, save))


def _makes_another(wrongly: str) -> Callable[[Verdict, Breach], bool]:
    """A predicate: an object was loaded as it is known to be staged, and that issue is one of those that say so."""

    def matches(verdict: Verdict, breach: Breach) -> bool:
        if breach.kind is not WrongObject or breach.operation != "load" or len(breach.detail) != 2:
            return False
        seen = breach.detail[1].split(maxsplit=1)[1]
        return seen in _staged_texts(verdict, breach, wrongly)

    return matches


def _makes_plain_dict(verdict: Verdict, breach: Breach) -> bool:
    """Whether a dict is there in the place of an ``OrderedDict`` that is an object, or is in one."""
    scenario = verdict.scenario
    said = breach.kind is WrongObject and breach.operation == "load" and breach.headline.endswith(_NOT_ORDERED)
    is_within = any(breach.path[: len(unit.path)] == unit.path and unit.container for unit in scenario.units("save"))
    there = at_path(scenario.entries, breach.path)
    ordered = any(isinstance(entry, Nested) and entry.container == "ordered" for entry in there)
    return said and is_within and ordered and _stages(scenario, ("writer",))


def _loses_the_whole(verdict: Verdict, breach: Breach) -> bool:
    """A ``CheckpointableTensor`` is recorded, or loaded, as if its local tensor were all of it."""
    if not _stages(verdict.scenario, ("writer",)):
        return False
    lost = {
        leaf.fqn
        for leaf in verdict.scenario.leaves("save")
        if isinstance(leaf.entry, TensorEntry) and leaf.entry.saved is not None
        if leaf.entry.saved.kind == "CheckpointableTensor"
    }
    if breach.operation == "save":
        return breach.kind in (MetadataWrong, BadChunks) and any(repr(fqn) in breach.headline for fqn in lost)
    if breach.kind is WrongBits:
        return ".".join(map(str, breach.path)) in lost
    if breach.kind not in (UnexpectedFailure, WrongException, WrongRanks):
        return False
    made = {fault.rank for fault in verdict.scenario.all_faults if fault.operation == "load"}
    due = made | refusals(verdict.scenario, "load").keys()
    named = blamed(operation_outcome(verdict, breach), "plan")
    said = {rank: _MISMATCH.fullmatch(error.message) for rank, error in named.items()}
    of_lost = [rank for rank, text in said.items() if text is not None and text["fqn"] in lost]
    return bool(of_lost) and said.keys() <= {*of_lost, *due}


_NOT_ORDERED = " is a dict and should be a OrderedDict"
_MISMATCH = re.compile(r"Size mismatch between saved .* and current: .* for (?P<fqn>.*)", re.DOTALL)
# A tensor in the text of a container: its dtype and shape, and its bytes.
_TENSOR = re.compile(r"(torch\.\w+ \([\d, ]*\)) ([0-9a-f]*)")
_NEGATED = TensorEntry("a", saved=Plain(memory="negated"))
_SCALAR = TensorEntry("a", saved=MeshSharding((1,), (Replicate(),)))
_WINDOW = TensorEntry("a", saved=MeshSharding((1,), (Replicate(),), memory="window"))
_SHARDED = TensorEntry("a", (1,), saved=ChunkSharding(0, (0,)))
_TILED = TensorEntry("a", saved=EnumerableSharding((Tile(0, (), ()),), holder="Checkpointable"))
_LOCAL = EnumerableSharding((Tile(0, (0,), (1,)),), "CheckpointableTensor", padded=True)
_STAGED = Operation(api="async", stager="default")

ISSUES = (
    KnownIssue(
        id="staging-lazy-bits",
        title="async_save with a DefaultStager forgets that a tensor is conjugated or negated",
        loses="the checkpoint silently holds the conjugate, or the negative, of what was to be saved",
        scenario=Scenario(entries=(_NEGATED,), save=_STAGED),
        matches=_loses_lazy_bits,
    ),
    KnownIssue(
        id="staging-scalar-dtensor",
        title="async_save does not copy a 0-d DTensor where the storage writer does the staging",
        loses="the checkpoint silently holds a step counter, or a loss scale, of a later step than the rest",
        scenario=Scenario(entries=(_SCALAR,), save=Operation(api="async")),
        matches=_stages_no_copy,
    ),
    KnownIssue(
        id="staging-ordered-dict",
        title="async_save makes a dict of an OrderedDict in an object where the storage writer does the staging",
        loses="what was an OrderedDict is a dict after a load, in silence",
        scenario=Scenario(
            entries=(Nested("a", "tuple", (Nested(0, "ordered", (ObjectEntry("b"),)),)),),
            save=Operation(api="async"),
        ),
        matches=lambda verdict, breach: (
            _makes_another("staging-ordered-dict")(verdict, breach) or _makes_plain_dict(verdict, breach)
        ),
    ),
    KnownIssue(
        id="staging-named-tuple",
        title="async_save makes a tuple of a named tuple or a torch.Size where the storage writer does the staging",
        loses="what was a named tuple, or a torch.Size, is a plain tuple after a load, in silence",
        scenario=Scenario(entries=(ObjectEntry("a", form="named tuple"),), save=Operation(api="async")),
        matches=_makes_another("staging-named-tuple"),
    ),
    KnownIssue(
        id="staging-held-twice",
        title="async_save makes two objects of one that a tuple holds twice where the storage writer does the staging",
        loses="what was one object is two after a load, in silence: a change to one is none to the other",
        scenario=Scenario(entries=(ObjectEntry("a", form="twice"),), save=Operation(api="async")),
        matches=_makes_another("staging-held-twice"),
    ),
    KnownIssue(
        id="staging-file-in-memory",
        title="async_save does not copy a BytesIO where the storage writer does the staging",
        loses="the checkpoint silently holds what was written to a file in memory after the call",
        scenario=Scenario(entries=(ObjectEntry("a", b"", form="BytesIO"),), save=Operation(api="async")),
        matches=_makes_another("staging-file-in-memory"),
    ),
    KnownIssue(
        id="staging-parameter",
        title="async_save with a DefaultStager makes a plain tensor of a parameter that an object holds",
        loses="what was a parameter is none after a load, in silence, and requires no gradient",
        scenario=Scenario(entries=(ObjectEntry("a", b"", form="parameter"),), save=_STAGED),
        matches=_makes_another("staging-parameter"),
    ),
    KnownIssue(
        id="staging-sparse",
        title="async_save with a DefaultStager cannot stage a sparse tensor that an object holds",
        loses="the save fails, or hangs where another rank has none; who failed is not said",
        scenario=Scenario(entries=(ObjectEntry("a", b"", form="sparse"),), save=_STAGED),
        matches=ends_alone("staging-sparse"),
    ),
    KnownIssue(
        id="staging-sharded-tensor",
        title="async_save with a DefaultStager cannot stage a ShardedTensor",
        loses="the save fails, or hangs where another rank has none; who failed is not said",
        scenario=Scenario(entries=(_SHARDED,), save=_STAGED),
        matches=ends_alone("staging-sharded-tensor"),
    ),
    KnownIssue(
        id="staging-dtensor-view",
        title="async_save cannot stage a DTensor whose local tensor does not begin where its storage does",
        loses="the save fails, or hangs where another rank has none; who failed is not said",
        scenario=Scenario(entries=(_WINDOW,), save=_STAGED),
        matches=ends_alone("staging-dtensor-view"),
    ),
    KnownIssue(
        id="staging-checkpointable",
        title="async_save takes a tensor of DCP's checkpointable protocol for a plain one",
        loses="such a tensor cannot be saved asynchronously; who failed is not said to other ranks",
        scenario=Scenario(entries=(_TILED,), save=Operation(api="async")),
        matches=ends_alone("staging-checkpointable"),
    ),
    KnownIssue(
        id="staging-exotic-dtype",
        title="async_save cannot stage a 0-d or an empty tensor of a dtype that torch cannot fill, as bits and float4",
        loses="the save fails, or hangs where another rank has none; who failed is not said",
        scenario=Scenario(entries=(TensorEntry("a", dtype="bits16"),), save=Operation(api="async")),
        matches=ends_alone("staging-exotic-dtype"),
    ),
    KnownIssue(
        id="staging-forgets-the-whole",
        title="async_save takes a CheckpointableTensor for its local tensor where the storage writer does the staging",
        loses="a checkpoint that was reported as saved has one rank's part of a tensor, and its padding, as the whole "
        "(from torch 2.15 on)",
        scenario=Scenario(entries=(TensorEntry("a", (1,), saved=_LOCAL),), save=Operation(api="async")),
        matches=_loses_the_whole,
        since=(2, 15),
    ),
)
