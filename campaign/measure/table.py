"""What a measure has shown: for each bug how soon and how small it was found, and for all of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..planted.bug import Bug
from ..size import size_of
from .race import Record

__all__ = ["Row", "lines", "markdown", "rows", "summary"]

_COUNTED = ("ranks", "entries", "elements", "faults")
_MORE_ELEMENTS = 4
"""So many elements more than the witness a tensor may have in what was shrunk to be as small as that."""


@dataclass(frozen=True)
class Row:
    """A bug over all seeds: how often it was found, after how many examples and CPU seconds, by which laws.

    ``smallest`` and ``witness`` are ranks, entries, elements and faults, of the smallest case that was found and of the
    smallest that is known; ``as_small`` says whether what each seed has come to is no larger than that, and ``cut``
    whether there was no time to shrink one to its end.
    """

    bug: str
    races: int
    found: int
    examples: tuple[int, ...]
    cpu: tuple[float, ...]
    laws: tuple[str, ...]
    smallest: tuple[int, ...] | None
    witness: tuple[int, ...] | None
    as_small: bool
    cut: bool
    lost: int


def rows(records: Sequence[Record], bugs: Mapping[str, Bug]) -> list[Row]:
    """One for each bug of which there is a record, those that took longest last, and those that were missed."""
    by_bug: dict[str, list[Record]] = {}
    for record in records:
        by_bug.setdefault(record["bug"], []).append(record)
    found = [_row(bug, of, bugs.get(bug)) for bug, of in by_bug.items()]
    return sorted(found, key=lambda row: (-row.found / row.races, median(row.examples or (0,)), row.bug))


def _row(bug: str, records: Sequence[Record], known: Bug | None) -> Row:
    found = [record for record in records if record["state"] == "found"]
    sizes = [tuple(record["size"][name] for name in _COUNTED) for record in found if "size" in record]
    witness = None
    if known is not None:
        size = size_of(known.witness.case).to_data()
        witness = tuple(size[name] for name in _COUNTED)
    return Row(
        bug,
        races=len(records),
        found=len(found),
        examples=tuple(sorted(record["examples"] for record in found)),
        cpu=tuple(sorted(record["cpu"] for record in found)),
        laws=tuple(law for law, _ in Counter(record["law"] for record in found).most_common()),
        smallest=min(sizes, default=None),
        witness=witness,
        as_small=len(sizes) == len(found) > 0 and all(_is_as_small(size, witness) for size in sizes),
        cut=any(not record.get("shrunk", True) for record in found),
        lost=sum(len(record.get("lost", ())) + (record["state"] == "lost") for record in records),
    )


def _is_as_small(size: tuple[int, ...], witness: tuple[int, ...] | None) -> bool:
    if witness is None:
        return False
    more = tuple(_MORE_ELEMENTS if name == "elements" else 0 for name in _COUNTED)
    return all(one <= other + also for one, other, also in zip(size, witness, more, strict=True))


def summary(found: Sequence[Row]) -> list[str]:
    """What there is to say of all of them, in lines."""
    races, hits = sum(row.races for row in found), sum(row.found for row in found)
    examples = [number for row in found for number in row.examples]
    said = [f"{hits} of {races} races found the bug, {sum(row.found > 0 for row in found)} of {len(found)} bugs"]
    if examples:
        cpu = [seconds for row in found for seconds in row.cpu]
        small = sum(row.as_small for row in found)
        said.append(f"after {median(examples):g} examples and {median(cpu):g} s of CPU in the median")
        said.append(f"{small} of {sum(row.found > 0 for row in found)} that were found became as small as the witness")
    lost = sum(row.lost for row in found)
    if lost:
        said.append(f"{lost} times a law, or a race, died or hung")
    return said


_HEADER = ("bug", "found", "examples", "CPU s", "law", "size", "witness")


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.bug,
        f"{row.found}/{row.races}" + (f", {row.lost} lost" if row.lost else ""),
        _spread(row.examples),
        _spread(row.cpu),
        ", ".join(row.laws),
        _size(row.smallest) + ("" if row.as_small or row.smallest is None else " !") + ("…" if row.cut else ""),
        _size(row.witness),
    )


def _spread(numbers: Sequence[float]) -> str:
    if not numbers:
        return ""
    middle = f"{median(numbers):.4g}"
    return middle if len(numbers) == 1 else f"{middle} ({numbers[0]:.4g}–{numbers[-1]:.4g})"


def _size(size: tuple[int, ...] | None) -> str:
    return "" if size is None else "/".join(map(str, size))


_LEGEND = (
    f"A size is {'/'.join(_COUNTED)}; with !, what was shrunk is larger than the witness, and with … there was no time "
    "to shrink it to its end."
)


def lines(found: Sequence[Row]) -> Iterator[str]:
    """The table as text."""
    table = [_HEADER, *map(_cells, found)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEADER))]
    for cells in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
    yield ""
    yield _LEGEND
    yield from summary(found)


def markdown(found: Sequence[Row]) -> str:
    """The same in Markdown."""
    said = [f"- {line}" for line in summary(found)]
    table = ["| " + " | ".join(cells) + " |" for cells in (_HEADER, ("---",) * len(_HEADER), *map(_cells, found))]
    return "\n".join([*said, "", *table, "", _LEGEND]) + "\n"
