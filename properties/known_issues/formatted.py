"""Known issues of files of safetensors that the file system writer writes, by its option."""

from __future__ import annotations

import itertools
import re

from worlds.entries import TensorEntry
from worlds.outcome import ErrorRecord, StorageRecord
from worlds.scenario import Scenario
from worlds.storages import FORMATTED

from ..verdict import Breach, Verdict
from ..violations import BadStorageIndex
from .entry import KnownIssue
from .unreadable import cannot_load

__all__ = ["ISSUES"]


_OF_TORCH_LOAD = {
    "_pickle.UnpicklingError": "Weights only load failed",
    "EOFError": "$",
    "IndexError": "index out of range$|pop from empty list$",
    "KeyError": r"\d+$",
    "struct.error": r"unpack requires a buffer of \d+ bytes$",
}
"""What ``torch.load`` says of the first bytes of a file of safetensors: the least of them is the header's length."""
_UNDONE = "while decompressing data|zstd decompress error"
"""What an extension says of bytes that it has not made: no tensor is passed through it."""


def _is_no_tensor(error: ErrorRecord) -> bool:
    text = _OF_TORCH_LOAD.get(error.type)
    return text is not None and re.match(text, error.message) is not None


def _is_not_undone(error: ErrorRecord) -> bool:
    return _is_no_tensor(error) or re.search(_UNDONE, error.message) is not None


def _has_tensors(scenario: Scenario) -> bool:
    return scenario.storage == FORMATTED and any(unit.tensor is not None for unit in scenario.units("save"))


def _has_extensions(scenario: Scenario) -> bool:
    return _has_tensors(scenario) and bool(scenario.writer.extensions)


_UNREADABLE = (cannot_load(_is_no_tensor, _has_tensors), cannot_load(_is_not_undone, _has_extensions))


def _is_unreadable(verdict: Verdict, breach: Breach) -> bool:
    return any(matches(verdict, breach) for matches in _UNREADABLE) or _has_all_at_one_place(verdict, breach)


def _has_all_at_one_place(verdict: Verdict, breach: Breach) -> bool:
    """Whether of what is said to be in one file tensors overlap, and they alone."""
    metadata = verdict.outcome.metadata
    if breach.kind is not BadStorageIndex or breach.fact != "overlap" or metadata is None:
        return False
    pairs = itertools.combinations(metadata.storage, 2)
    overlapping = [record for pair in pairs if _overlap(*pair) for record in pair]
    of_tensors = bool(overlapping) and all(record.offsets is not None for record in overlapping)
    return verdict.scenario.storage == FORMATTED and of_tensors


def _overlap(one: StorageRecord, other: StorageRecord) -> bool:
    """Whether one begins within the other, be it without a byte: behind an extension each tensor has its own place."""
    first, second = sorted((one, other), key=lambda record: (record.start, record.length))
    return one.file == other.file and second.start < first.start + first.length


ISSUES = (
    KnownIssue(
        id="file-system-safetensors",
        title="what FileSystemWriter(serialization_format=SAFETENSORS) writes, no reader of torch's reads",
        loses="a checkpoint that was reported as saved cannot be loaded, with none of its tensors",
        scenario=Scenario((TensorEntry("a"),), storage=FORMATTED),
        matches=_is_unreadable,
    ),
)
