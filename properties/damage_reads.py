"""Which ranks read what of a checkpoint, and what of that is damaged: from its metadata, asking nothing of DCP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from worlds.do_damage import METADATA
from worlds.layouts import Layout
from worlds.outcome import DamagedFile, MetadataRecord, Outcome, StorageRecord
from worlds.parts import Box
from worlds.scenario import Scenario
from worlds.state_tree import Unit

__all__ = ["DamageReads", "Harm", "harm_of", "overlap"]

Harm = Literal["lost", "altered"]
"""``"lost"``: the file is gone, or ends before, so that nobody can read it; ``"altered"``: other bytes are there."""


def harm_of(file: DamagedFile | None, start: int, end: int) -> Harm | None:
    """What has become of those bytes of a file, if anything."""
    if file is None or file.before is None:  # as it was, or left over
        return None
    if file.after is None:
        return "lost"
    if _changed(file, start, min(end, file.after)):
        return "altered"
    return "lost" if _changed(file, start, end) else None


def _changed(file: DamagedFile, start: int, end: int) -> bool:
    return any(max(start, first) < min(end, last) for first, last in file.changed)


@dataclass(frozen=True)
class Read:
    """A rank's read of what is kept in one place: of an object, or of a tensor those elements.

    Not ``surely`` where it wants none of it, and DCP may read it all the same.
    """

    record: StorageRecord
    box: Box | None
    surely: bool


@dataclass(frozen=True)
class DamageReads:
    """What the ranks of a load read, of a checkpoint that was saved and has ``metadata``, and then was damaged."""

    scenario: Scenario
    metadata: MetadataRecord
    damaged: Mapping[str, DamagedFile]

    @staticmethod
    def of(scenario: Scenario, outcome: Outcome) -> DamageReads:
        """Those of the load in that outcome, which has metadata, or tells the places of what was saved without."""
        metadata = outcome.metadata or outcome.places
        assert metadata is not None
        return DamageReads(scenario, metadata, {file.file: file for file in outcome.damaged})

    @cached_property
    def of_metadata(self) -> Harm | None:
        """What has become of the metadata, all of which every rank reads."""
        file = self.damaged.get(METADATA)
        if file is None or file.before is None:
            return None
        longer = file.after is not None and file.after > file.before
        return "altered" if longer else harm_of(file, 0, file.before)

    @cached_property
    def harmed(self) -> dict[StorageRecord, Harm]:
        """The places in the storage's index where something is not as it was saved."""
        found = {}
        for record in self.metadata.storage:
            harm = harm_of(self.damaged.get(record.file), record.start, record.start + record.length)
            if harm is not None:
                found[record] = harm
        return found

    def ranks(self, harm: Harm, *, surely: bool) -> dict[int, tuple[StorageRecord, ...]]:
        """The ranks that read what has come to that harm, each with what; ``surely``, or else perhaps."""
        found = {}
        for rank in range(self.scenario.load.world_size):
            records = (read.record for read in self._harmed_reads(rank) if read.surely or not surely)
            if kept := tuple(dict.fromkeys(record for record in records if self.harmed[record] == harm)):
                found[rank] = kept
        return found

    def alike(self) -> list[frozenset[int]]:
        """The ranks that read the same of what has come to harm, so that they can all read it or none can."""
        found: dict[frozenset[Read], set[int]] = {}
        for rank in range(self.scenario.load.world_size):
            found.setdefault(frozenset(self._harmed_reads(rank)), set()).add(rank)
        return [frozenset(ranks) for reads, ranks in found.items() if reads and all(read.surely for read in reads)]

    def is_gone(self, file: str) -> bool:
        """Whether the file was there, and is no longer."""
        return file in self.damaged and self.damaged[file].after is None

    def only_misses(self, rank: int) -> frozenset[str]:
        """The files that are gone of what the rank reads, if that is all that has come to harm of it."""
        files = {read.record.file for read in self._harmed_reads(rank)}
        return frozenset(files if all(map(self.is_gone, files)) else ())

    def boxes(self, fqn: str) -> Iterator[Box]:
        """Where in that tensor something has come to harm."""
        for record in self.harmed:
            if record.fqn == fqn and record.offsets is not None:
                yield self._boxes[fqn, record.offsets]

    @cached_property
    def _boxes(self) -> dict[tuple[str, tuple[int, ...]], Box]:
        return {
            (tensor.fqn, chunk.offsets): Box(chunk.offsets, chunk.sizes)
            for tensor in self.metadata.tensors
            for chunk in tensor.chunks
        }

    @cached_property
    def _places(self) -> dict[str, list[StorageRecord]]:
        found: dict[str, list[StorageRecord]] = {}
        for record in self.metadata.storage:
            found.setdefault(record.fqn, []).append(record)
        return found

    def _harmed_reads(self, rank: int) -> list[Read]:
        return [read for read in self._reads(rank) if read.record in self.harmed]

    def _reads(self, rank: int) -> Iterator[Read]:
        """What the rank reads of the files."""
        for unit in self.scenario.units("load"):
            if unit.is_on("load", rank):
                for record in self._places.get(unit.fqn, ()):
                    if record.offsets is None:
                        yield Read(record, None, True)
                    elif unit.tensor is not None and unit.tensor.loaded is not None:
                        box = self._boxes[unit.fqn, record.offsets]
                        yield from self._of_tensor(unit, unit.tensor.loaded, rank, record, box)

    def _of_tensor(self, unit: Unit, layout: Layout, rank: int, record: StorageRecord, box: Box) -> Iterator[Read]:
        assert unit.tensor is not None
        for part in layout.parts(unit.tensor.shape, rank):
            wanted = [block for block, _ in part.boxes()]
            if len(wanted) > 1 or not wanted[0] or not box:
                yield Read(record, None, False)  # a part with holes may be taken for a box, which is a known issue
            elif (common := overlap(wanted[0], box)) is not None:
                yield Read(record, common, True)


def overlap(one: Box, other: Box) -> Box | None:
    """The elements that two boxes of one tensor have in common, if there are any."""
    pairs = list(zip(one.offsets, one.sizes, other.offsets, other.sizes, strict=True))
    offsets = tuple(max(a, b) for a, _, b, _ in pairs)
    ends = (min(a + a_size, b + b_size) for a, a_size, b, b_size in pairs)
    box = Box(offsets, tuple(max(0, end - offset) for offset, end in zip(offsets, ends, strict=True)))
    return box or None
