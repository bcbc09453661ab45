"""The ledger of damage to a checkpoint that a load does not see, and the check that knows it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from strategies.case_features import damage_features
from strategies.features import features
from worlds.damage import Damage
from worlds.entries import TensorEntry
from worlds.layouts import ChunkSharding
from worlds.operations import Operation
from worlds.scenario import Scenario
from worlds.storages import limits_of

from .check import KNOWN_HITS, World, pass_or_raise
from .damage_reads import DamageReads
from .judge import judge
from .judge_damage import named_ranks
from .judge_damaged_safetensors import SafetensorsDamage
from .judged import count_judged
from .known_issues import find_known_issue
from .ledger import LedgerEntry, first_match
from .verdict import Verdict
from .violations import LostFailure, UnseenDamage, Violation

__all__ = ["DAMAGE_ISSUES", "DamageIssue", "check_damaged", "find_damage_issue"]


@dataclass(frozen=True, kw_only=True)
class DamageIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of a checkpoint that is damaged between the save and the load."""

    scenario: Scenario
    matches: Callable[[Verdict], bool]
    kinds: tuple[type[Violation], ...] = (UnseenDamage,)


def check_damaged(scenario: Scenario, world: World) -> None:
    """Raise the violation if ``scenario`` breaks a law in ``world``, unless it is a known issue; that is counted."""
    __tracebackhide__ = True
    if not limits_of(scenario.storage).metadata and not _passes_undamaged(scenario, world):
        return
    outcome = world.run(scenario)
    count_judged(features(scenario) | damage_features(scenario))
    verdict = judge(scenario, outcome)
    known = find_damage_issue(verdict) or _known_without_damage(verdict)
    if known is None:
        pass_or_raise(verdict)
    else:
        KNOWN_HITS[known.id] += 1


def _passes_undamaged(scenario: Scenario, world: World) -> bool:
    """Whether it breaks no law without the damage; where it does, what is damaged says nothing.

    Of other storages it is known from the metadata what was saved.
    """
    __tracebackhide__ = True
    undamaged = replace(scenario, damages=())
    verdict = judge(undamaged, world.run(undamaged))
    pass_or_raise(verdict)
    return bool(verdict)


def _known_without_damage(verdict: Verdict) -> LedgerEntry | None:
    """The entry for what seems to be due to damage to the metadata, if it is one that needs no damage."""
    if verdict.breach is None or verdict.breach.kind is not UnseenDamage:
        return None
    return find_known_issue(judge(replace(verdict.scenario, damages=()), replace(verdict.outcome, damaged=())))


def find_damage_issue(verdict: Verdict) -> DamageIssue | None:
    """The entry for the verdict's breach, if it is known for the installed torch."""
    if verdict.breach is None:
        return None
    kind = verdict.breach.kind
    return first_match(DAMAGE_ISSUES.values(), lambda issue: kind in issue.kinds and issue.matches(verdict))


def _is_due_to(kind: str, *, metadata: bool = False) -> Callable[[Verdict], bool]:
    """Whether the load is as if nothing had happened, of what such a damage has done; and nothing but that is wrong."""

    def matches(verdict: Verdict) -> bool:
        if kind != "stale" and verdict.outcome.places is not None:
            return False  # in files of safetensors, which name what is in them
        reads = DamageReads.of(verdict.scenario, verdict.outcome)
        if (reads.of_metadata == "altered") != metadata:
            return False
        return any(damage.kind == kind and damage.metadata == metadata for damage in verdict.scenario.damages)

    return matches


def _is_older(verdict: Verdict) -> bool:
    """Whether a file is of the earlier save, or a file and the metadata too, which then agree with each other."""
    if _is_due_to("stale")(verdict):
        return True
    of_metadata = {damage.kind for damage in verdict.scenario.damages if damage.metadata}
    return of_metadata == {"stale"} and any(
        damage.kind == "stale" and not damage.metadata for damage in verdict.scenario.damages
    )


def _is_of_safetensors(verdict: Verdict) -> SafetensorsDamage | None:
    return None if verdict.outcome.places is None else SafetensorsDamage.of(verdict.scenario, verdict.outcome)


def _misses_a_file(verdict: Verdict) -> bool:
    damage = _is_of_safetensors(verdict)
    if damage is None or not damage.gone or damage.is_other_header:
        return False
    if not any(each.kind == "missing" for each in verdict.scenario.damages):
        return False
    # Where two had changed places before one was removed, what is gone was in the other.
    missing = any(file.after is None and "/" not in file.file for file in verdict.outcome.damaged)
    return missing and (verdict.breach is None or verdict.breach.kind is UnseenDamage or _has_the_rest(verdict, damage))


def _has_the_rest(verdict: Verdict, damage: SafetensorsDamage) -> bool:
    """Whether each rank that is not named, where others are, finds a part of every tensor of which it lacks one.

    Or need not, where the load may be partial.
    """
    load = verdict.outcome.load
    assert load is not None
    there = {record.fqn for record in damage.reads.metadata.storage if record not in damage.gone}
    lacking = damage.reads.ranks("lost", surely=True)
    named = named_ranks(load)
    unnamed = lacking.keys() - named
    partial = verdict.scenario.planner.allow_partial_load
    return bool(named and unnamed) and all(
        partial or record.fqn in there for rank in unnamed for record in lacking[rank]
    )


def _takes_part_for_whole(verdict: Verdict) -> bool:
    """Whether one of the parts that a whole file was made of is in its place."""
    damage = _is_of_safetensors(verdict)
    swapped = any(damage.kind == "swapped" for damage in verdict.scenario.damages)
    if damage is None or not damage.gone or not swapped or damage.is_other_header:
        return False
    return any(file.same_as.startswith("sharded/") for file in damage.files)


def _reads_another_header(verdict: Verdict) -> bool:
    damage = _is_of_safetensors(verdict)
    return damage is not None and damage.is_other_header and _is_flipped(verdict)


def _reads_flipped_elements(verdict: Verdict) -> bool:
    damage = _is_of_safetensors(verdict)
    return damage is not None and not damage.is_other_header and _is_flipped(verdict)


def _is_flipped(verdict: Verdict) -> bool:
    return any(damage.kind == "flipped" for damage in verdict.scenario.damages)


def _changes_more_than_the_bit(verdict: Verdict) -> bool:
    """Whether more bits of a tensor are wrong than were flipped."""
    if not _is_due_to("flipped")(verdict) or verdict.breach is None:
        return False
    pairs = [match.groups() for line in verdict.breach.detail if (match := _ELEMENT.search(line)) is not None]
    wrong = sum((int(expected, 16) ^ int(seen, 16)).bit_count() for expected, seen in pairs)
    return wrong > len(verdict.scenario.damages)


_ELEMENT = re.compile(r"expected ([0-9a-f]+), seen ([0-9a-f]+)")
_HALVES = ChunkSharding(0, (0, 1))
_ONE = (TensorEntry("a"),)

_ISSUES = (
    DamageIssue(
        id="flipped-bit-in-metadata",
        title="a flipped bit in .metadata can lead a load to other bytes, or keep it from reading any",
        loses="a load reports success and holds other values, or the old ones, in any tensor; nothing checks the index",
        scenario=Scenario(  # __0_0.distcp becomes __1_0.distcp
            (TensorEntry("a", (2,), saved=_HALVES),),
            Operation(2),
            damages=(Damage("flipped", metadata=True, byte=2, inside=True),),
        ),
        matches=_is_due_to("flipped", metadata=True),
    ),
    DamageIssue(
        id="stale-file",
        title="a file of an earlier save of the same state is loaded as if it were of this one",
        loses="a job goes on with weights that are in part of another step, where a storage brings back an older file",
        scenario=Scenario(_ONE, damages=(Damage("stale"),)),
        matches=_is_older,
    ),
    DamageIssue(
        id="swapped-files",
        title="a file in the place of another one is loaded as if it were that one, where the layout is the same",
        loses="parts of tensors change places, and nothing is said, after files were renamed or restored wrongly",
        scenario=Scenario((TensorEntry("a", (2,), saved=_HALVES),), Operation(2), damages=(Damage("swapped"),)),
        matches=_is_due_to("swapped"),
    ),
    DamageIssue(
        id="flipped-bit-beside-elements",
        title="a flipped bit in the zip file around a tensor has all its elements read from elsewhere, or not at all",
        loses="a tensor holds other bytes of the file, or what was in the memory of the process, and nothing is said",
        scenario=Scenario(_ONE, damages=(Damage("flipped", byte=1320, bit=4),)),  # so the tensor is a directory
        matches=_changes_more_than_the_bit,
    ),
    DamageIssue(
        id="flipped-bit",
        title="a flipped bit in the bytes of a tensor or an object is loaded: the zip file's checksums are not checked",
        loses="a load reports success and holds a value that nobody has saved, after a disk or a network has erred",
        scenario=Scenario(_ONE, damages=(Damage("flipped", inside=True),)),
        matches=_is_due_to("flipped"),
        upstream="pytorch/pytorch#126952",
    ),
    DamageIssue(
        id="safetensors-missing-file",
        title="a file of safetensors that is gone is not missed: the reader knows of none but those that it finds",
        loses="a load reports success, and what was in that file keeps the values that it had",
        scenario=Scenario(
            (TensorEntry("a", (2,), saved=_HALVES),), Operation(2), damages=(Damage("missing"),), storage="safetensors"
        ),
        matches=_misses_a_file,
        kinds=(UnseenDamage, LostFailure),
    ),
    DamageIssue(
        id="consolidated-part-as-whole",
        title="a part in the place of the file that was made of all of them is loaded as if it were the whole",
        loses="a load reports success, and what is in the other parts keeps the values that it had",
        scenario=Scenario(
            (TensorEntry("a", (2,), saved=_HALVES),),
            Operation(2, api="legacy"),
            damages=(Damage("swapped", other=2),),
            storage="consolidated",
        ),
        matches=_takes_part_for_whole,
    ),
    DamageIssue(
        id="safetensors-flipped-bit-in-header",
        title="a flipped bit in the header of a file of safetensors can lead a load to other bytes or another place",
        loses="a load reports success and holds other values, or the old ones; nothing checks the header",
        scenario=Scenario(  # what is at [0] is said to be at [1], where something else is too
            (TensorEntry("a", (2,), saved=_HALVES),),
            Operation(2),
            damages=(Damage("flipped", byte=75),),
            storage="safetensors",
        ),
        matches=_reads_another_header,
    ),
    DamageIssue(
        id="safetensors-flipped-bit",
        title="a flipped bit in the elements of a file of safetensors is loaded: the format has no checksums",
        loses="a load reports success and holds a value that nobody has saved, after a disk or a network has erred",
        scenario=Scenario(_ONE, damages=(Damage("flipped", inside=True),), storage="safetensors"),
        matches=_reads_flipped_elements,
        upstream="safetensors/safetensors#220",
    ),
)

DAMAGE_ISSUES: dict[str, DamageIssue] = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
