"""The ledger of what goes wrong in released torch where a state goes by files of safetensors."""

from __future__ import annotations

import re
from collections.abc import Callable

from worlds.entries import Entry, ObjectEntry, TensorEntry
from worlds.layouts import ChunkSharding, EnumerableSharding, Plain, Tile
from worlds.operations import Operation
from worlds.outcome import ErrorRecord
from worlds.routes import Route
from worlds.scenario import Scenario

from .judge_route import RouteBreach
from .known_issues.entry import blamed
from .route_entry import RouteIssue
from .violations import NotLoaded, WrongBits

__all__ = ["SAFETENSORS_ISSUES"]


def _blamed(breach: RouteBreach, phase: str) -> dict[int, ErrorRecord]:
    outcome = breach.verdict.outcome
    seen = outcome.save if phase == "write" else outcome.load
    return {} if seen is None else blamed(seen, phase)


def _says(phase: str, text: str) -> Callable[[RouteBreach], bool]:
    """Whether all that is said in that phase is that, by whichever rank."""

    def matches(breach: RouteBreach) -> bool:
        said = [error.message for error in _blamed(breach, phase).values()]
        return bool(said) and all(re.search(text, message) for message in said)

    return matches


def _tensors(breach: RouteBreach) -> dict[str, TensorEntry]:
    """What was saved under each name, of tensors."""
    leaves = breach.route.scenario.leaves("save")
    return {leaf.fqn: leaf.entry for leaf in leaves if isinstance(leaf.entry, TensorEntry)}


def _wrong_tensor(breach: RouteBreach) -> TensorEntry | None:
    """The tensor whose elements are not what was saved, or were not loaded, if that is what is wrong."""
    if breach.breach.operation != "load" or breach.breach.kind not in (NotLoaded, WrongBits):
        return None
    return _tensors(breach).get(".".join(map(str, breach.breach.path)))


def _has_several_shards(entry: TensorEntry) -> bool:
    """Whether a rank has more than one shard of it, even if one is empty."""
    saved = entry.saved
    return saved is not None and any(
        len(saved.parts(entry.shape, rank)) > 1 for rank in range(saved.highest_rank() + 1)
    )


def _loses_shards(breach: RouteBreach) -> bool:
    wrong = _wrong_tensor(breach)
    if wrong is not None:
        return _has_several_shards(wrong)
    names = {name for name, entry in _tensors(breach).items() if _has_several_shards(entry)}
    said = [error.message for error in _blamed(breach, "plan").values()]
    found = [_SIZE_MISMATCH.fullmatch(message) for message in said]
    return bool(said) and all(match is not None and match["name"] in names for match in found)


_SIZE_MISMATCH = re.compile(r"Size mismatch between saved .* and current: .* for (?P<name>.*)", re.DOTALL)


def _forgets_lazy_bits(breach: RouteBreach) -> bool:
    wrong = _wrong_tensor(breach)
    return wrong is not None and wrong.saved is not None and wrong.saved.memory in ("conjugated", "negated")


def _holds_objects(breach: RouteBreach) -> bool:
    """Whether a file with something else than tensors in it cannot be read, by who makes one of them or who loads."""
    objects = any(unit.tensor is None for unit in breach.route.scenario.units("save"))
    unreadable = _says("plan", "global metadata read failed: Error while deserializing header")(breach)
    # A header that is none says that it is longer than any memory.
    types = {error.type for error in _blamed(breach, "write").values()}
    return objects and (unreadable or (types == {"MemoryError"} and breach.route.by == "consolidated"))


def _is_consolidated(matches: Callable[[RouteBreach], bool]) -> Callable[[RouteBreach], bool]:
    return lambda breach: breach.route.by == "consolidated" and matches(breach)


def _halves_complex(breach: RouteBreach) -> bool:
    """Whether the one file cannot be read, and there is a complex tensor in it."""
    there = any(entry.dtype.startswith("complex") for entry in _tensors(breach).values())
    return there and _says("plan", "global metadata read failed: Error while deserializing header: invalid")(breach)


def _empties_scalars(breach: RouteBreach) -> bool:
    wrong = _wrong_tensor(breach)
    return wrong is not None and wrong.shape == () and all(" seen 00" in line for line in breach.breach.detail)


def _holds_no_tensor(breach: RouteBreach) -> bool:
    empty = not breach.route.scenario.units("save")
    return empty and _says("write", r"max\(\) (arg|iterable argument) is (an empty sequence|empty)")(breach)


def _mixes_with_parts(breach: RouteBreach) -> bool:
    """Whether a rank takes a part's file for the whole, where both lie in one directory."""
    together = breach.route.scenario.save.api != "legacy"
    return together and _says("read", r"^req MetadataIndex\(.* mismatch sizes ")(breach)


def _route(entry: Entry | None, by: str = "safetensors", save: Operation | None = None) -> Route:
    save = save or Operation(api="legacy" if by == "consolidated" else "current")
    entries = () if entry is None else (entry,)
    return Route(Scenario(entries=entries, save=save, load=Operation(save.world_size)), by)  # type: ignore[arg-type]


_TWO_SHARDS = EnumerableSharding((Tile(0, (0,), (1,)), Tile(0, (1,), (1,))))
_ISSUES = (
    RouteIssue(
        id="safetensors-one-shard-a-rank",
        title="HuggingFaceStorageWriter writes one shard of a tensor for each rank, and drops the others",
        loses="the other shards are silently not in the checkpoint, and are not loaded",
        route=_route(TensorEntry("a", (2,), saved=_TWO_SHARDS)),
        matches=_loses_shards,
    ),
    RouteIssue(
        id="safetensors-not-contiguous",
        title="HuggingFaceStorageWriter cannot save a tensor that is not contiguous",
        loses="a transposed or strided tensor, which DCP's own files take, cannot be saved",
        route=_route(TensorEntry("a", (2, 2), saved=Plain(memory="transposed"))),
        matches=_says("write", "You are trying to save a non contiguous tensor"),
    ),
    RouteIssue(
        id="safetensors-lazy-bits",
        title="HuggingFaceStorageWriter forgets that a tensor is conjugated or negated lazily",
        loses="the checkpoint silently holds the conjugate, or the negative, of what was to be saved",
        route=_route(TensorEntry("a", saved=Plain(memory="negated"))),
        matches=_forgets_lazy_bits,
    ),
    RouteIssue(
        id="safetensors-with-objects",
        title="HuggingFaceStorageWriter takes what is no tensor, and writes a file that nothing can read",
        loses="a checkpoint that was reported as saved cannot be loaded, with none of its tensors",
        route=_route(ObjectEntry("a")),
        matches=_holds_objects,
    ),
    RouteIssue(
        id="consolidated-integers",
        title="with enable_consolidation, integer and bool tensors cannot be saved: torch.finfo is asked for them",
        loses="a model with an integer buffer cannot be saved, whatever else it holds",
        upstream="pytorch/pytorch#192485",
        route=_route(TensorEntry("a", dtype="int64"), "consolidated"),
        matches=_is_consolidated(_says("write", r"torch\.finfo\(\) requires a floating point input type")),
    ),
    RouteIssue(
        id="consolidated-complex",
        title="with enable_consolidation, complex tensors get half their bytes: torch.finfo is asked for them",
        loses="a checkpoint that was reported as saved cannot be loaded, with none of its tensors",
        route=_route(TensorEntry("a", (1,), dtype="complex64"), "consolidated"),
        matches=_is_consolidated(_halves_complex),
    ),
    RouteIssue(
        id="consolidated-scalars",
        title="with enable_consolidation, every 0-d tensor is written as zero",
        loses="a loss scale, a temperature or a step counter silently is 0 in the file that others are given",
        route=_route(TensorEntry("a"), "consolidated"),
        matches=_is_consolidated(_empties_scalars),
    ),
    RouteIssue(
        id="consolidated-nothing",
        title="with enable_consolidation, a state dict without tensors cannot be saved: max() of an empty sequence",
        loses="the save of an empty state dict fails, and says nothing that one understands",
        route=_route(None, "consolidated"),
        matches=_is_consolidated(_holds_no_tensor),
    ),
    RouteIssue(
        id="consolidated-beside-its-parts",
        title="with enable_consolidation, checkpoint_id makes HuggingFaceStorageWriter forget its directory for parts",
        loses="parts and whole are in one directory, and what reads it takes a part for the whole, and fails",
        route=_route(TensorEntry("a", (2,), saved=ChunkSharding(0, (0, 1))), "consolidated", Operation(2)),
        matches=_is_consolidated(_mixes_with_parts),
    ),
)

SAFETENSORS_ISSUES: dict[str, RouteIssue] = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
