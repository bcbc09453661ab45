"""The ledger of what goes wrong in released torch where a checkpoint is read without a template, and its check."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from strategies.case_features import case_features
from worlds.entries import Nested, ObjectEntry, Path, TensorEntry
from worlds.example import ExampleWorld
from worlds.layouts import Plain
from worlds.operations import Operation, PlannerOptions
from worlds.outcome import ContainerState, ErrorRecord, ObjectState, TensorState
from worlds.rebuild import run_rebuilding
from worlds.rebuilding import Rebuilding
from worlds.scenario import Scenario

from .check import KNOWN_HITS
from .expected_rebuilding import Deviation, expected_rebuilding
from .judge_rebuilding import RebuildingBreach, judge_rebuilding
from .judged import count_judged
from .known_issues import KNOWN_ISSUES
from .known_issues.entry import blamed
from .ledger import LedgerEntry, first_match, torch_release
from .staged_objects import wrongly_staged

__all__ = ["REBUILDING_ISSUES", "RebuildingIssue", "check_rebuilding", "find_rebuilding_issue"]


@dataclass(frozen=True, kw_only=True)
class RebuildingIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of what is made of a checkpoint alone."""

    rebuilding: Rebuilding
    matches: Callable[[RebuildingBreach], bool]


def check_rebuilding(rebuilding: Rebuilding, world: ExampleWorld) -> None:
    """Raise the violation if the law breaks, unless it is a known issue; that is counted."""
    __tracebackhide__ = True
    count_judged(case_features(rebuilding))
    breach = judge_rebuilding(rebuilding, run_rebuilding(world, rebuilding))
    if breach is None:
        return
    known = find_rebuilding_issue(breach)
    if known is None:
        breach.violation().throw()
    KNOWN_HITS[known.id] += 1


def find_rebuilding_issue(breach: RebuildingBreach) -> LedgerEntry | None:
    """The entry for the breach, if it is known for the installed torch; also one of saving, if that is what shows."""
    found = first_match(REBUILDING_ISSUES.values(), lambda issue: issue.matches(breach))
    if found is not None:
        return found
    save = breach.rebuilding.scenario.save
    if "wrongly staged" in breach.deviations:
        return KNOWN_ISSUES["staging-scalar-dtensor" if save.stager == "writer" else "staging-lazy-bits"]
    if "local tensors" in breach.deviations and KNOWN_ISSUES["staging-forgets-the-whole"].affects(torch_release()):
        return KNOWN_ISSUES["staging-forgets-the-whole"]
    if "objects staged" in breach.deviations:
        entries = breach.rebuilding.scenario.entries
        return KNOWN_ISSUES[next(wrong for entry in entries for wrong in wrongly_staged(entry, save))]
    return KNOWN_ISSUES["bits-dtypes"] if _has_dtype_without_size(breach) else None


def _deviates(deviation: Deviation) -> Callable[[RebuildingBreach], bool]:
    """Whether what every rank holds differs so, and in nothing else than known deviations."""
    return lambda breach: deviation in breach.deviations


def _blamed(breach: RebuildingBreach) -> dict[int, ErrorRecord]:
    return blamed(breach.read, "plan")


def _asks_none(breach: RebuildingBreach) -> bool:
    """Every rank is blamed for asking ``None`` for paths, where there are keys and the checkpoint has no paths."""
    asks = breach.rebuilding.keys is not None and not breach.rebuilding.scenario.planner.flatten_state_dict
    said = {(error.type, error.message) for error in _blamed(breach).values()}
    return asks and said == {("AttributeError", "'NoneType' object has no attribute 'get'")}


_SAID = re.compile(
    r"Missing key in checkpoint state_dict: (?P<missing>.*)\."
    r"|Invalid checkpoint metadata for (?P<other>.*), expected BytesStorageMetadata but found .*",
    re.DOTALL,
)


def _fails_at_a_hole(breach: RebuildingBreach) -> bool:
    """Every rank that is blamed asked for a place of a list that is not to be read, or for such a list as a whole."""
    said = {rank: _SAID.fullmatch(error.message) for rank, error in _blamed(breach).items()}
    return bool(said) and all(
        match is not None and (match["missing"] or match["other"] or "") in _holes(breach.rebuilding, rank)
        for rank, match in said.items()
    )


def _holes(rebuilding: Rebuilding, rank: int) -> set[str]:
    deviations: tuple[tuple[Deviation, ...], ...] = (("no empty dicts",), ("no empty dicts", "own part"))
    return {".".join(map(str, path)) for some in deviations for path in _hole_paths(rebuilding, rank, frozenset(some))}


def _hole_paths(rebuilding: Rebuilding, rank: int, deviations: frozenset[Deviation]) -> Iterator[Path]:
    """The places of lists where ``None`` is, and the lists with neither a tensor nor a dict beside it."""
    states = expected_rebuilding(rebuilding, rank, deviations)
    for path, state in states.items():
        if isinstance(state, ObjectState) and state.type == "NoneType":
            yield path
        elif isinstance(state, ContainerState) and state.type == "list":
            below = [inner for place, inner in states.items() if place[: len(path)] == path and place != path]
            if not any(
                isinstance(inner, TensorState) or (isinstance(inner, ContainerState) and inner.type == "dict")
                for inner in below
            ):
                yield path


def _has_dtype_without_size(breach: RebuildingBreach) -> bool:
    """A tensor of such a dtype was saved as a part of an object, and is to be saved by itself now."""
    tensors = [leaf.entry for leaf in breach.rebuilding.scenario.leaves("save")]
    bits = any(isinstance(entry, TensorEntry) and entry.dtype.startswith("bits") for entry in tensors)
    said = [error.message for error in _blamed(breach).values()]
    return bits and len(said) == 1 and said[0].startswith("torch.iinfo() requires an integer input type")


_EMPTY_FIRST = Nested("a", "list", (Nested(0), TensorEntry(1)))
_ISSUES = (
    RebuildingIssue(
        id="rebuilt-text-keys",
        title="what is made of a checkpoint without a template has the text of int keys in their place",
        loses="an optimizer's state that was converted has other keys than were saved",
        upstream="pytorch/pytorch#153842",
        rebuilding=Rebuilding(Scenario(entries=(Nested("a", "dict", (ObjectEntry(0),)),))),
        matches=_deviates("text keys"),
    ),
    RebuildingIssue(
        id="rebuilt-without-empty-dicts",
        title="what is made of a checkpoint without a template lacks empty dicts, and dicts and lists of only such",
        loses="a checkpoint that was converted lacks keys, and its lists have None, or are shorter",
        rebuilding=Rebuilding(Scenario(entries=(Nested("a"),))),
        matches=_deviates("no empty dicts"),
    ),
    RebuildingIssue(
        id="rebuilt-own-part",
        title="of a checkpoint that was saved with use_collectives=False, each rank that reads without a template gets "
        "what it has saved itself",
        loses="what dcp_to_torch_save writes has arbitrary memory where other ranks had their shards, and says nothing",
        rebuilding=Rebuilding(
            Scenario(
                entries=(TensorEntry("a", saved=Plain((1,)), loaded=None),),
                save=Operation(2, api="uncoordinated"),
                load=Operation(2),
            )
        ),
        matches=_deviates("own part"),
    ),
    RebuildingIssue(
        id="rebuilt-places-before",
        title="a key that asks for a place in a list also loads the objects at the places before it",
        loses="objects are read, and unpickled, that nobody has asked for",
        rebuilding=Rebuilding(
            Scenario(entries=(Nested("a", "list", (ObjectEntry(0, 1), TensorEntry(1))),)), "keys", ("a.1",)
        ),
        matches=_deviates("places before"),
    ),
    RebuildingIssue(
        id="rebuilt-list-with-hole",
        title="a list of which a place is not read (an empty dict, or what no key asks for) is asked for that place",
        loses="dcp_to_torch_save fails on a checkpoint that was reported as saved; a place in a list has no key",
        rebuilding=Rebuilding(Scenario(entries=(_EMPTY_FIRST,))),
        matches=_fails_at_a_hole,
    ),
    RebuildingIssue(
        id="keys-of-unflattened",
        title="a checkpoint that was saved with flatten_state_dict=False cannot be read by keys",
        loses="reading by keys raises an AttributeError unless every name in the checkpoint is among the keys",
        rebuilding=Rebuilding(
            Scenario(entries=(TensorEntry("a"),), planner=PlannerOptions(flatten_state_dict=False)), "keys", ("b",)
        ),
        matches=_asks_none,
    ),
)

REBUILDING_ISSUES: dict[str, RebuildingIssue] = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
