"""The ledger of what goes wrong in released torch where quantized tensors are loaded, and the check that knows it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from strategies.case_features import case_features
from worlds.dtypes import DTYPES
from worlds.entries import TensorEntry
from worlds.example import ExampleWorld
from worlds.layouts import Plain
from worlds.outcome import ChunkState, EntryState, Returned, TensorState
from worlds.parts import Box
from worlds.quantized import Quantized
from worlds.quantized_files import stored_tensors
from worlds.run_quantized import run_quantized
from worlds.unread import unread
from worlds.values import poison_bytes

from .check import KNOWN_HITS
from .judge_quantized import QuantizedBreach, content_of, dequantized, judge_quantized
from .judged import count_judged
from .known_issues import find_known_issue
from .known_issues.entry import blamed, is_due
from .ledger import LedgerEntry, first_match
from .violations import LostFailure, NotLoaded, UnexpectedFailure, WrongBits, WrongException, WrongRanks

__all__ = ["QUANTIZED_ISSUES", "QuantizedIssue", "check_quantized", "find_quantized_issue"]


@dataclass(frozen=True, kw_only=True)
class QuantizedIssue(LedgerEntry):
    """As :class:`properties.known_issues.KnownIssue`, of a quantized tensor."""

    quantized: Quantized
    matches: Callable[[QuantizedBreach], bool]


def check_quantized(quantized: Quantized, world: ExampleWorld) -> None:
    """Raise the violation if something else is loaded than is in the files, unless it is known; that is counted."""
    __tracebackhide__ = True
    count_judged(case_features(quantized))
    breach = judge_quantized(quantized, run_quantized(world, quantized))
    if breach is None:
        return
    known = find_quantized_issue(breach)
    if known is None:
        breach.violation().throw()
    KNOWN_HITS[known.id] += 1


def find_quantized_issue(breach: QuantizedBreach) -> LedgerEntry | None:
    """The entry for the breach, if it is known for the installed torch; also one that DCP's own files show too."""
    known: LedgerEntry | None = first_match(QUANTIZED_ISSUES.values(), lambda issue: issue.matches(breach))
    return known or find_known_issue(breach.verdict)


_FAILED = (LostFailure, UnexpectedFailure, WrongException, WrongRanks)


def _says(breach: QuantizedBreach, phase: str, text: str) -> bool:
    """Whether every rank blames those that have said that in that phase; who else is named rightly refuses something.

    A reader with several threads only counts the files that they have read (``safetensors-reader-threads``).
    """
    load = breach.verdict.outcome.load
    if breach.breach.kind not in _FAILED or load is None:
        return False
    if breach.quantized.thread_count > 1 and phase == "read":
        text = rf"{text}|^Not all files were processed: 1 out of 2$"
    named = blamed(load, phase)
    said = {rank for rank, error in named.items() if re.search(text, error.message)}
    scenario = breach.verdict.scenario
    return bool(said) and all(rank in said or is_due(scenario, "load", rank, named[rank]) for rank in named)


_Mend = Callable[[bytes, int, bytes, bytes], bool]
"""Whether an element is as the bug has it: what it is, its index along the last dim, what it should be, and was."""


def _is_right_but_for(breach: QuantizedBreach, mend: _Mend) -> bool:
    """Whether all would be right, or known, were it not for elements of the tensor that are as a bug has them."""
    outcome = breach.verdict.outcome
    if breach.breach.kind not in (NotLoaded, WrongBits) or outcome.load is None:
        return False
    ranks = tuple(
        replace(seen, state=tuple(_mended(breach.quantized, state, mend) for state in seen.state))
        if isinstance(seen, Returned)
        else seen
        for seen in outcome.load.ranks
    )
    mended = replace(outcome, load=replace(outcome.load, ranks=ranks))
    rest = judge_quantized(breach.quantized, mended)
    return rest is None or (mended != outcome and find_quantized_issue(rest) is not None)


def _mended(quantized: Quantized, state: EntryState, mend: _Mend) -> EntryState:
    """The state of the tensor with what is right in the place of such elements."""
    if not isinstance(state, TensorState) or state.path != (quantized.name,) or state.shape != quantized.sizes:
        return state
    return replace(state, chunks=tuple(_mended_chunk(quantized, chunk, mend) for chunk in state.chunks))


def _mended_chunk(quantized: Quantized, chunk: ChunkState, mend: _Mend) -> ChunkState:
    entry, box = TensorEntry(quantized.name, quantized.sizes, quantized.dtype), Box(chunk.offsets, chunk.sizes)
    right = content_of(dequantized(quantized))(quantized.name, entry, box)
    before = poison_bytes(quantized.name, entry, box)
    width, row = DTYPES[quantized.dtype].itemsize, chunk.sizes[-1]
    found = bytearray(chunk.data)
    for start in range(0, len(found), width):
        each = slice(start, start + width)
        index = chunk.offsets[-1] + start // width % row
        if mend(bytes(found[each]), index, right[each], before[each]):
            found[each] = right[each]
    return replace(chunk, data=bytes(found))


def _reads_first_elements_alone(breach: QuantizedBreach) -> bool:
    """What is not loaded lies behind the first elements of a row, which are as many as the row has groups."""
    quantized = breach.quantized
    dtype = DTYPES[quantized.dtype]
    new = bytes([unread(dtype)]) * dtype.itemsize if quantized.loaded.memory == "meta" else None

    def is_left(seen: bytes, index: int, right: bytes, before: bytes) -> bool:
        return index >= quantized.shape[-1] and seen == (new or before)

    return quantized.is_mxfp4 and _is_right_but_for(breach, is_left)


def _loses_sign(breach: QuantizedBreach) -> bool:
    """Elements have the other sign, in a target that torch negates only where it is read."""
    quantized = breach.quantized

    def is_negated(seen: bytes, index: int, right: bytes, before: bytes) -> bool:
        return seen == right[:-1] + bytes([right[-1] ^ 0x80])

    from_half = (quantized.target_dtype, quantized.dtype) == ("float16", "float32")
    return from_half and quantized.loaded.memory == "negated" and _is_right_but_for(breach, is_negated)


def _is_taken_for_mxfp4(breach: QuantizedBreach) -> bool:
    """What is beside it is called as blocks are, and is not to be read, or has another size than it is said to have."""
    beside = breach.quantized.beside
    name, dims = str(beside.key), len(beside.shape)
    if not name.endswith("_blocks"):
        return False
    if dims < 2:
        return _says(breach, "plan", rf"not enough values to unpack \(expected at least 2, got {dims}\)")
    *first, groups, size = beside.shape
    taken = [*first, groups * size * 2]
    shown = f"Size mismatch between saved torch.Size({taken}) and current: torch.Size({[*beside.shape]}) for {name}"
    return _says(breach, "plan", re.escape(shown))


def _is_loaded_as_stored(breach: QuantizedBreach) -> bool:
    """The numbers are those in the file, without their scales, and all else is right, or known."""
    if breach.quantized.is_mxfp4 or breach.breach.kind is not WrongBits:
        return False
    stored = _as_stored(breach.quantized)
    rest = judge_quantized(breach.quantized, breach.verdict.outcome, stored)
    return rest is None or find_known_issue(rest.verdict) is not None


def _as_stored(quantized: Quantized) -> dict[str, torch.Tensor]:
    stored = stored_tensors(quantized)
    return {**stored, quantized.name: stored[quantized.name].to(DTYPES[quantized.dtype])}


def _is_named_twice(breach: QuantizedBreach) -> bool:
    """What is before the scales' ending has it in it as well, so that their tensor is not found."""
    quantized = breach.quantized
    if quantized.is_mxfp4:
        mismatch = rf"req MetadataIndex\(fqn='{re.escape(quantized.name)}', .* mismatch sizes"
        return "_scales" in quantized.prefix and _says(breach, "read", mismatch)
    return ".weight_scale_inv" in quantized.prefix and _is_loaded_as_stored(breach)


def _is_of_no_module(breach: QuantizedBreach) -> bool:
    return not breach.quantized.prefix and _is_loaded_as_stored(breach)


def _has_other_dims(breach: QuantizedBreach) -> bool:
    quantized = breach.quantized
    if quantized.is_mxfp4:
        return len(quantized.sizes) != 3 and _says(breach, "read", r"^$")
    return len(quantized.sizes) != 2 and _says(breach, "read", "^Unsupported quantization types$")


_ISSUES = (
    QuantizedIssue(
        id="mxfp4-first-elements-alone",
        title="QuantizedHuggingFaceStorageReader reads as many elements of each row of MXFP4 as the row has groups",
        loses="load() reports success, and of the experts of gpt-oss 31 of 32 elements are not loaded",
        quantized=Quantized((1, 1, 1), "mxfp4"),
        matches=_reads_first_elements_alone,
    ),
    QuantizedIssue(
        id="mxfp4-by-name-alone",
        title="QuantizedHuggingFaceStorageReader takes any tensor for MXFP4 whose name ends in _blocks",
        loses="a checkpoint with a tensor of such a name that is not quantized, as num_blocks, cannot be loaded",
        quantized=Quantized(beside=TensorEntry("b_blocks", (2,))),
        matches=_is_taken_for_mxfp4,
    ),
    QuantizedIssue(
        id="scales-named-twice",
        title="QuantizedHuggingFaceStorageReader does not find scales in whose name their ending is twice",
        loses="a module x_scales with quantized tensors in it cannot be loaded, or is, as if they were not quantized",
        quantized=Quantized((1, 1, 1), "mxfp4", prefix="a_scales"),
        matches=_is_named_twice,
    ),
    QuantizedIssue(
        id="weight-of-no-module",
        title="QuantizedHuggingFaceStorageReader does not find the scales of a tensor that is called weight alone",
        loses="load() reports success, and the numbers in a checkpoint of one layer lack their scales",
        quantized=Quantized(prefix=""),
        matches=_is_of_no_module,
    ),
    # A bug of copy_(), which is the same in any reader: the others are to refuse another dtype, so that none shows it.
    QuantizedIssue(
        id="half-into-negated",
        title="Tensor.copy_() of float16 into a float32 tensor that is negated lazily forgets the negation",
        loses="what is dequantized to float16, or read as it by any reader, is loaded with the other sign, in silence",
        quantized=Quantized(target_dtype="float16", loaded=Plain(memory="negated")),
        matches=_loses_sign,
    ),
    QuantizedIssue(
        id="quantized-other-dims",
        title="QuantizedHuggingFaceStorageReader dequantizes tensors of two dims, or of three as MXFP4, and no others",
        loses="a checkpoint with quantized tensors of another number of dims cannot be loaded",
        quantized=Quantized((1,)),
        matches=_has_other_dims,
    ),
)
QUANTIZED_ISSUES = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
