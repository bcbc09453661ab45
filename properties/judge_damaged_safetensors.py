"""Judges the load of damaged files of safetensors, of which the reader makes up the metadata: from all that it finds.

So a header is read by every rank, in the plan; a file that is gone is one that nobody knows of; and files that have
changed places are as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from worlds.outcome import DamagedFile, MetadataRecord, OperationOutcome, Outcome, StorageRecord
from worlds.scenario import Scenario

from .damage_reads import DamageReads, harm_of
from .judge_blame import judge_blame
from .judge_damage import Blame, described, judge_data, may_fail, must_fail, named_ranks, unseen
from .judge_state import judge_untouched
from .oracle import OperationExpectation
from .verdict import Breach
from .violations import LostFailure

__all__ = ["SafetensorsDamage", "judge_damaged_safetensors"]


def judge_damaged_safetensors(
    scenario: Scenario, outcome: Outcome, expectation: OperationExpectation
) -> Iterator[Breach]:
    """What is wrong with the load of a checkpoint in such files that was saved well, and then damaged.

    Where a file ends too soon, every rank must be named, for all look at it. Where its header is another one, any may
    be. Where a file is gone, those that want of it what nothing else has must be named, and those that want something
    of the same tensors may be. Where only elements are others, those that read them may be named.
    """
    assert outcome.load is not None
    damage = SafetensorsDamage.of(scenario, outcome)
    for breach in _breaches(scenario, outcome, outcome.load, damage, expectation):
        yield replace(breach, damage=tuple(described(outcome, damage.reads)))


def _breaches(
    scenario: Scenario,
    outcome: Outcome,
    load: OperationOutcome,
    damage: SafetensorsDamage,
    expectation: OperationExpectation,
) -> Iterator[Breach]:
    everyone = frozenset(range(scenario.load.world_size))
    if damage.ends_early:
        yield from must_fail(load, Blame("plan", dict.fromkeys(everyone, ()), everyone))
        yield from judge_untouched(scenario, load)
    elif damage.is_other_header or (damage.gone and expectation.stages):
        yield from may_fail(load, None, everyone)
        if load.returned and expectation.stages:
            yield from judge_blame(scenario, "load", expectation, load)
        elif load.returned:
            yield from unseen(scenario, outcome, load)
    elif expectation.stages:
        yield from judge_blame(scenario, "load", expectation, load)
        yield from judge_untouched(scenario, load)
    elif damage.gone:
        yield from _gone(scenario, outcome, load, damage)
    else:
        yield from judge_data(scenario, outcome, load, damage.reads)


def _gone(scenario: Scenario, outcome: Outcome, load: OperationOutcome, damage: SafetensorsDamage) -> Iterator[Breach]:
    wanted = damage.reads.ranks("lost", surely=True)
    yield from may_fail(load, None, damage.holders | damage.reads.ranks("altered", surely=False).keys())
    if load.returned:
        yield from unseen(scenario, outcome, load)
        return
    yield from judge_untouched(scenario, load)
    for rank in sorted(wanted.keys() - named_ranks(load)):
        yield Breach(LostFailure, f"load: rank {rank} reads what is gone, and is not named", "load")


@dataclass(frozen=True)
class SafetensorsDamage:
    """What has become of the files of safetensors that a reader looks at."""

    scenario: Scenario
    places: MetadataRecord
    files: tuple[DamagedFile, ...]
    """All that are not as they were, but for what has only changed places, and copies of what was saved."""

    @staticmethod
    def of(scenario: Scenario, outcome: Outcome) -> SafetensorsDamage:
        """That of the outcome, which has places."""
        assert outcome.places is not None
        read = [file for file in outcome.damaged if "/" not in file.file]
        kept = {file.same_as for file in read}
        moved = (file.file for file in read if file.file in kept and _is_gone(file))
        harmless = {*moved, *(file.file for file in read if file.before is None and file.same_as)}
        whole = (file for file in read if file.file not in harmless)
        return SafetensorsDamage(scenario, outcome.places, tuple(whole))

    @property
    def ends_early(self) -> bool:
        """Whether a file is not there as far as its header says, so that nobody can open it."""
        return any(map(_is_cut, self.files))

    @property
    def is_other_header(self) -> bool:
        """Whether a file has a header that nobody has written, or that is of another file."""
        return any(
            file.before != file.after or harm_of(file, 0, self._header(file)) is not None
            for file in self.files
            if not (_is_gone(file) or _is_cut(file))
        )

    @cached_property
    def gone(self) -> frozenset[StorageRecord]:
        """What was in files of which nothing is there, under whatever name, and is in no other file."""
        damaged = {file.file for file in self.files}
        there = {(record.fqn, record.offsets) for record in self.places.storage if record.file not in damaged}
        files = {file.file for file in self.files if _is_gone(file)}
        lost = (record for record in self.places.storage if record.file in files)
        return frozenset(record for record in lost if (record.fqn, record.offsets) not in there)

    @cached_property
    def reads(self) -> DamageReads:
        """What the ranks read of that."""
        files = {file.file: replace(file, after=None) if _is_gone(file) else file for file in self.files}
        kept = (
            record
            for record in self.places.storage
            if record in self.gone or record.file not in files or not _is_gone(files[record.file])
        )
        return DamageReads(self.scenario, replace(self.places, storage=tuple(kept)), files)

    @property
    def holders(self) -> frozenset[int]:
        """The ranks that load anything of a tensor of which something is gone."""
        fqns = {record.fqn for record in self.gone}
        units = [unit for unit in self.scenario.units("load") if unit.fqn in fqns]
        ranks = range(self.scenario.load.world_size)
        return frozenset(rank for rank in ranks if any(unit.is_on("load", rank) for unit in units))

    def _header(self, file: DamagedFile) -> int:
        return min((record.start for record in self.places.storage if record.file == file.file), default=0)


def _is_gone(file: DamagedFile) -> bool:
    return file.after is None or bool(file.same_as)


def _is_cut(file: DamagedFile) -> bool:
    shorter = file.before is not None and file.after is not None and file.after < file.before
    return shorter and not file.same_as and all(first >= (file.after or 0) for first, _ in file.changed)
