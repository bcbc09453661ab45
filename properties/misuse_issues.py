"""The ledger of what goes wrong in released torch where a call has an argument that it cannot have, and its check."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from strategies.case_features import case_features
from worlds.entries import ObjectEntry, TensorEntry
from worlds.example import ExampleWorld
from worlds.misuses import Kind, Misuse
from worlds.operations import Operation
from worlds.outcome import Deadlocked, Raised, Returned
from worlds.run_misuse import run_misuse

from .check import KNOWN_HITS
from .judge_misuse import MisuseBreach, errors_of, judge_misuse
from .judged import count_judged
from .ledger import LedgerEntry, first_match
from .violations import (
    Deadlock,
    Disagreement,
    LostFailure,
    NotRefused,
    TouchedTarget,
    UnclearRefusal,
    UnexpectedFailure,
    UnprotectedFailure,
    WroteBeforeRefusal,
)

__all__ = ["MISUSE_ISSUES", "MisuseIssue", "check_misuse", "find_misuse_issue"]


@dataclass(frozen=True, kw_only=True)
class MisuseIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of a call with an argument that it cannot have."""

    misuse: Misuse
    matches: Callable[[MisuseBreach], bool]


def check_misuse(misuse: Misuse, world: ExampleWorld) -> None:
    """Raise the first violation that is no known issue, if the law breaks; the others are counted."""
    __tracebackhide__ = True
    count_judged(case_features(misuse))
    for breach in judge_misuse(misuse, run_misuse(world, misuse)):
        known = find_misuse_issue(breach)
        if known is None:
            breach.violation().throw()
        KNOWN_HITS[known.id] += 1


def find_misuse_issue(breach: MisuseBreach) -> MisuseIssue | None:
    """The entry for the breach, if it is known for the installed torch."""
    return first_match(MISUSE_ISSUES.values(), lambda issue: issue.matches(breach))


_BEFORE_THE_PLAN: tuple[Kind, ...] = (
    "no state",
    "list for a state",
    "no name",
    "number for an id",
    "id of no storage",
    "path for a storage",
    "storage's class",
    "text for a group",
    "coordinator behind the last",
    "coordinator below 0",
    "stager's class",
)
"""What is refused before the ranks first ask each other whether all is well; the last by some APIs alone."""


def _is_told_alone(breach: MisuseBreach) -> bool:
    """The ranks that gave what is wrong raised it themselves, and all others wait for ever."""
    call, misuse = breach.outcome.call, breach.misuse
    if breach.kind is not Deadlock or call is None or misuse.kind not in _BEFORE_THE_PLAN:
        return False
    alone = (isinstance(seen, Raised) and seen.failures is None for seen in (call.ranks[rank] for rank in misuse.wrong))
    others = (seen for rank, seen in enumerate(call.ranks) if rank not in misuse.wrong)
    return all(alone) and all(isinstance(seen, Deadlocked) for seen in others)


_SAID: Mapping[Kind, str] = {
    "no state": r"'NoneType' object has no attribute '(items|keys)'",
    "list for a state": r"'list' object has no attribute '(items|keys)'",
    "no name": r"'NoneType' object has no attribute 'reset'",
    "path for a storage": r"'str' object has no attribute 'reset'",
    "storage's class": r"'str' object has no attribute '(save_id|storage_data)'",
    "storage for the other": r"'FileSystem(Reader|Writer)' object has no attribute '(storage_meta|read_metadata)'",
    "planner's class": r"'dict' object has no attribute 'original_state_dict'",
    "planner for the other": r"'bool' object has no attribute 'state_dict_metadata'",
}
"""What is said of an argument of another type: what something within it lacks."""


def _says_what_it_lacks(breach: MisuseBreach) -> bool:
    error, said = breach.error, _SAID.get(breach.misuse.kind)
    unclear = breach.kind is UnclearRefusal and error is not None and error.type == "AttributeError"
    return unclear and said is not None and error is not None and re.fullmatch(said, error.message) is not None


_OF_SAVES = re.compile(
    r"'(list|Metadata)' object has no attribute 'items'"
    r"|'WriteItem' object has no attribute 'storage_index'"
    r"|'ReadItem' object has no attribute 'index'|'NoneType' object is not iterable"
    r"|ProcessGroupGloo::scatter: Incorrect input list size 2\..*"
)
_BY_PLANNER = (Deadlock, Disagreement, LostFailure, TouchedTarget, UnclearRefusal, UnprotectedFailure)


def _plans_to_save(breach: MisuseBreach) -> bool:
    """A planner of saves was taken by a load, and what a rank says, if any does, is of a plan of the other kind."""
    misuse, call = breach.misuse, breach.outcome.call
    if (misuse.name, misuse.kind) != ("load", "planner for the other") or breach.kind not in _BY_PLANNER:
        return False
    assert call is not None
    said = [error for seen in call.ranks if isinstance(seen, Raised) for error in errors_of(seen)]
    return bool(said) and all(_OF_SAVES.match(error.message) for error in said)


def _has_no_threads(breach: MisuseBreach) -> bool:
    """What is asked for by no threads is found out as each begins to write."""
    if breach.misuse.kind not in ("no threads", "threads below 0"):
        return False
    if breach.kind is WroteBeforeRefusal:
        return all(name.endswith(".distcp") for name in breach.outcome.changed)
    said = ("ZeroDivisionError", "integer modulo by zero"), ("IndexError", "list index out of range")
    error = breach.error
    return breach.kind is UnclearRefusal and error is not None and (error.type, error.message) in said


def _has_nothing_in_files(breach: MisuseBreach) -> bool:
    """What was saved with the name of a format cannot be loaded: there is nothing where it should be."""
    loaded = breach.outcome.loaded
    if breach.misuse.kind != "format by its name" or breach.when != "as it is loaded" or loaded is None:
        return False
    named = [error for seen in loaded.ranks if isinstance(seen, Raised) for _, error in seen.failures or ()]
    return breach.kind is UnexpectedFailure and bool(named) and all(error.type == "EOFError" for error in named)


def _is_in_no_group(breach: MisuseBreach) -> bool:
    misuse = breach.misuse
    return breach.kind is NotRefused and misuse.kind == "group of others" and misuse.operation.api == "legacy"


def _goes_its_own_way(breach: MisuseBreach) -> bool:
    """Ranks were given other options than others of how they work together, and nobody raised."""
    call = breach.outcome.call
    if breach.kind is not Deadlock or breach.misuse.kind not in ("no_dist", "no collectives") or call is None:
        return False
    return all(isinstance(seen, Returned | Deadlocked) for seen in call.ranks)


_TWO = Operation(2)
_ISSUES = (
    MisuseIssue(
        id="refused-alone",
        title="a rank that gives save() or load() what cannot be is refused before the others are asked, who wait",
        loses="one rank has no path, as where rank 0 alone was told it, and the others hang until the watchdog fires",
        misuse=Misuse(operation=_TWO, ranks=(1,)),
        matches=_is_told_alone,
    ),
    MisuseIssue(
        id="types-unchecked",
        title="an argument of another type is refused by an AttributeError, of what something in it lacks",
        loses="who gives a path for a storage, or None for a state dict, is told of 'str' and 'reset', and not of that",
        misuse=Misuse("path for a storage"),
        matches=_says_what_it_lacks,
    ),
    MisuseIssue(
        id="save-planner-in-load",
        title="load() takes a planner of saves, scatters its plans of another kind, and fails in some other place",
        loses="load() with a DefaultSavePlanner hangs, blames others, or has overwritten the target of those",
        misuse=Misuse("planner for the other", "load", Operation(3), entries=(TensorEntry("p", (2,)),)),
        matches=_plans_to_save,
    ),
    MisuseIssue(
        id="no-threads",
        title="FileSystemWriter takes a thread_count of 0 or less, and fails while it writes, and others have written",
        loses="ZeroDivisionError or IndexError, once the other ranks have overwritten their part of a checkpoint",
        misuse=Misuse("no threads", entries=(ObjectEntry("o"),)),
        matches=_has_no_threads,
    ),
    MisuseIssue(
        id="format-by-its-name",
        title='FileSystemWriter takes serialization_format="torch_save", or any other text, and writes no tensors',
        loses="a checkpoint that was reported as saved has nothing in its files, and cannot be loaded",
        misuse=Misuse("format by its name", entries=(TensorEntry("p", (2,)),)),
        matches=_has_nothing_in_files,
    ),
    MisuseIssue(
        id="returns-outside-the-group",
        title="save_state_dict() and load_state_dict() do nothing, and return, on a rank outside of the process group",
        loses="a rank that is given a group of others loads nothing, and goes on with the weights that it had",
        misuse=Misuse("group of others", "load", Operation(2, api="legacy"), (1,), (TensorEntry("p", (2,)),)),
        matches=_is_in_no_group,
    ),
    MisuseIssue(
        id="options-that-differ",
        title="ranks that are given no_dist or use_collectives otherwise than others are not told, and ranks wait",
        loses="a flag that differs between ranks hangs until the watchdog fires",
        misuse=Misuse("no collectives", operation=_TWO, ranks=(1,)),
        matches=_goes_its_own_way,
    ),
)
MISUSE_ISSUES = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
